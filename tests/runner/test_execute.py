from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowbench.api import Likelihood
from flowbench.provenance import code_sha256
from flowbench.registry import PluginSelection, load_registry
from flowbench.runner.execute import Execution, Outcome, _Watch
from flowbench.training.loop import ValidationPoint

FAKES = Path(__file__).parent.parent / "fakes.py"


def test_the_hash_of_the_models_code_leaves_dataset_and_metrics_out() -> None:
    registry = load_registry(PluginSelection(files=(FAKES,)))
    order = SimpleNamespace(device="cpu", metrics=("nll",), command=())
    job = SimpleNamespace(model="fake-gaussian", dataset="two-moons")
    execution: Any = SimpleNamespace(_order=order, _job=job, outcome=Outcome())
    Execution._describe(execution, registry, registry.dataset("two-moons").spec.info(10))
    assert execution.outcome.model_code_sha256 == code_sha256(["fakes"])
    assert execution.outcome.code_sha256 != execution.outcome.model_code_sha256


@pytest.mark.parametrize(
    ("measure", "name", "value"),
    [
        ("discrete", "bpd", 2.0),
        ("continuous", "nll", 8 * math.log(2)),
        ("noisy", "nll", 8 * math.log(2)),
    ],
)
def test_curves_hold_bits_only_of_a_discrete_likelihood(
    measure: Any, name: str, value: float
) -> None:
    points: list[Any] = []
    execution: Any = SimpleNamespace(note_point=points.append, checkpoint_due=None, save=None)
    trained: Any = SimpleNamespace(
        data=SimpleNamespace(num_dims=4), likelihood_kind=Likelihood(measure=measure)
    )
    nats = 8 * math.log(2)
    point = ValidationPoint(
        step=1, examples=2, charged_s=1.0, progress=0.5, loss=None, raw=nats, ema=None
    )
    _Watch(execution, trained).validated(point)
    kept = points[0].model_dump(exclude_none=True)
    assert kept[name] == pytest.approx(value)
    assert ("bpd" in kept) == (measure == "discrete")
