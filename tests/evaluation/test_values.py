from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from flowbench.api.specs import MetricSpec, MetricValue
from flowbench.errors import ContractError
from flowbench.evaluation.values import checked_values

SPEC = MetricSpec(name="m", compute="mine:m", unit="u", direction="lower", summary="")
GOOD = MetricValue(name="m", value=1.5, unit="u", direction="lower")


class Unsaid:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol": {"k": np.int64(3)}}, r"protocol\['k'\] is np.int64\(3\) of type numpy.int64"),
        ({"protocol": {"k": np.arange(3)}}, r"of type numpy.ndarray; .* x.tolist\(\)"),
        ({"protocol": {"a": [{"b": np.float64(1.0)}]}}, r"protocol\['a'\]\[0\]\['b'\] is"),
        ({"protocol": {"k": torch.ones(2)}}, "of type torch.Tensor"),
        ({"protocol": {"k": float("nan")}}, "is nan; give a finite number or None"),
        ({"protocol": {"k": 2**70}}, "give an integer within"),
        ({"protocol": {(1, 2): 3}}, r"a key of its protocol is \(1, 2\)"),
        ({"protocol": {"a": {1: 2}}}, r"a key of its protocol\['a'\] is 1"),
        ({"protocol": {"k": "no \udcff"}}, r"protocol\['k'\] is 'no .*give printable text"),
        ({"protocol": {"k": "x" * 2_000_000}}, "give printable text"),
        ({"protocol": {"k": Unsaid()}}, "an object of .*Unsaid"),
        ({"protocol": ["k"]}, "give a mapping"),
        ({"direction": "up"}, "its direction is 'up'; expected lower, higher, none"),
        ({"status": "great"}, "its status is 'great'; expected ok, unavailable, failed"),
        ({"split": "holdout"}, "its split is 'holdout'"),
        ({"unit": "\x00"}, "its unit is"),
        ({"name": ""}, "its name is ''"),
        ({"name": "nll"}, "it returned a value 'nll'; a name begins with 'm'"),
        ({"value": True}, "its value is True; give a float"),
        ({"value": torch.tensor(1.5)}, r"its value is tensor\(1.5000\); give a float"),
        ({"value": 10**400}, "give a float"),
        ({"value": None}, "its status is 'ok' without a value"),
        ({"value": float("inf")}, "the value is inf"),
        ({"status": "failed"}, "its status is 'failed' with the value 1.5"),
        ({"num_examples": 2**70}, "its num_examples is 1180591620717411303424"),
        ({"num_examples": -1}, "its num_examples is -1"),
        ({"stderr": "0.1"}, "its stderr is '0.1'; give a float"),
        ({"reason": 7}, "its reason is 7; give a text"),
    ],
)
def test_a_value_that_cannot_be_kept_fails_alone(changes: dict[str, Any], reason: str) -> None:
    beside = replace(GOOD, name="m_p95", value=2.5)
    bad, kept = checked_values(SPEC, [replace(GOOD, **changes), beside])
    assert (bad.name, bad.value, bad.status) == ("m", None, "failed")
    assert bad.reason is not None
    assert re.search(reason, bad.reason)
    assert len(bad.reason) <= 500
    assert bad.reason.isprintable()
    assert kept == beside


def test_numbers_of_numpy_and_tuples_become_plain() -> None:
    numpys: dict[str, Any] = {"value": np.float32(1.5), "num_examples": np.int64(7)}
    given = replace(GOOD, **numpys, protocol={"sizes": (1, 2)})
    (value,) = checked_values(SPEC, [given])
    assert (type(value.value), type(value.num_examples)) == (float, int)
    assert (value.status, value.protocol) == ("ok", {"sizes": [1, 2]})


@pytest.mark.parametrize("returned", [None, 1.5, GOOD, [], {"m": 1.0}])
def test_what_is_no_list_of_values_is_refused(returned: object) -> None:
    with pytest.raises(ContractError, match=r"mine:m returned .*; return a list of one"):
        checked_values(SPEC, returned)


def test_of_two_values_of_one_name_none_is_kept() -> None:
    (value,) = checked_values(SPEC, [GOOD, replace(GOOD, value=2.5)])
    assert (value.status, value.reason) == ("failed", "it returned two values of the name 'm'")
    (stranger,) = checked_values(SPEC, [1.5])
    assert (stranger.name, stranger.status) == ("m", "failed")
