from __future__ import annotations

from typing import Any

import pytest

import flowbench
from flowbench.errors import SuiteError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"overrides": {"glow.width": 1}, "grid": {"glow.width": [2]}}, "overrides and by grid"),
        ({"grid": {"glow.width": []}}, "grid has no value of glow"),
        ({"grid": {"glow.width": "32,64"}}, "expected a list"),
        ({"sweep": {"glow.width": [32]}}, "leaves nothing to choose"),
        ({"sweep": {"glow.width": "log(1)"}}, "expected log"),
        ({"sweep": {"glow.width": [1, 2]}, "grid": {"glow.width": [1, 2]}}, "set and swept"),
        ({"trials": 0}, "trials"),
    ],
)
def test_what_cannot_be_tuned_is_one_error(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        flowbench.run(models=["glow"], **given)
