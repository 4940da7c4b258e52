from __future__ import annotations

from pathlib import Path

import pytest
from flowbench.contract import ClosedForm, check_model
from flowbench.contract.pytest_plugin import Contract

from flowbench_peers.plugin import VECTOR_FLOWS

# zuko inverts its Gaussianization by bisection between -10 and 10: what lies beyond is lost.
KNOWN_FAILURES = {"zuko-gf": "round_trip"}
WHOLE_FLOW = Path(__file__).parent / "whole_flow.py"
# One of each library; on the others the witnesses are tried, trained, in flowbench's own tests.
TRAINED = ("zuko-maf", "nflows-rqnsf-c", "normflows-realnvp")
SOUND = [row[0] for row in VECTOR_FLOWS if row[0] not in KNOWN_FAILURES]

TWENTY = ClosedForm(log_prob=[-float(i) for i in range(1, 21)], expected=19.5)


@pytest.mark.parametrize("name", SOUND)
def test_vector_flows(flowbench_contract: Contract, name: str) -> None:
    flowbench_contract.model(name, slow=name in TRAINED)


@pytest.mark.parametrize("name", KNOWN_FAILURES)
def test_what_the_contract_finds(flowbench_contract: Contract, name: str) -> None:
    report = check_model(flowbench_contract.registry, name, slow=False)
    assert {result.name for result in report.failures} == {KNOWN_FAILURES[name]}


def test_why_layers_of_normflows_are_not_composed_by_it(flowbench_contract: Contract) -> None:
    """Its composition adds float64 log-determinants up in the default dtype."""
    registry = flowbench_contract.plugin_file(WHOLE_FLOW).registry
    report = check_model(registry, "whole-flow", slow=False)
    assert {result.name for result in report.failures} == {"float64_map"}


def test_glow(flowbench_contract: Contract) -> None:
    flowbench_contract.model("normflows-glow")


def test_spiral(flowbench_contract: Contract) -> None:
    flowbench_contract.dataset("spiral")


def test_nll_tail(flowbench_contract: Contract) -> None:
    flowbench_contract.metric("nll_tail", closed_forms=[TWENTY])
