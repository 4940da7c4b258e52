"""No model computes anything else than it did, unless that was meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.plugins.flowbench_models.loss_curves import CASES, LARGE, Case, losses

RECORDED = json.loads(Path(__file__).with_suffix("").with_name("loss_curves.json").read_text())

# Batch norm in front of kinks: the last digit, in which processors differ, is 4e-4 a few steps on.
TOLERANCES = {"realnvp@digits,network=resnet,norm=batch,width=8,blocks=2": 2e-3}

# They take a second, and each has smaller layers of its own that faster tests look at.
COSTLY = {"nanoflow@digits", "denseflow@digits", "tarflow@digits", "rqnsf@digits"}


def _is_slow(case: Case) -> bool:
    """Whether it is a variant, whose id has settings or a preset, or of large images."""
    return case.data is LARGE or "=" in case.id or ":" in case.id or case.id in COSTLY


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.id, marks=[pytest.mark.slow] if _is_slow(case) else [])
        for case in CASES
    ],
)
def test_losses_of_20_steps_are_those_recorded(case: Case) -> None:
    found, recorded, tolerance = losses(case), RECORDED[case.id], TOLERANCES.get(case.id, 1e-8)
    assert found[0] == pytest.approx(recorded[0], rel=0, abs=1e-8)
    assert found == pytest.approx(recorded, rel=0, abs=tolerance)
