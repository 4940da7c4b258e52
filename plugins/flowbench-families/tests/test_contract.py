from __future__ import annotations

import pytest
from flowbench.contract.pytest_plugin import Contract

from flowbench_families.plugin import register_models

NAMES = [spec.name for spec in register_models()]


@pytest.mark.parametrize("name", NAMES)
def test_models_keep_the_contract(flowbench_contract: Contract, name: str) -> None:
    flowbench_contract.model(name)
