"""A metric changes nothing, for the next one measures the same model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flowbench.contract.checking.checks import Finding, check, failed, passed
from flowbench.contract.metrics.stage import SETTINGS, Stage, set_up
from flowbench.contract.metrics.subject import MetricSubject
from flowbench.registry.containment import Kept
from flowbench.training.seeds import seed_globals


@check(
    "in-place operations on arrays (sort(), +=), model.train(), np.random.*",
    needs=("values",),
)
def inputs(subject: MetricSubject) -> Finding:
    """Compute changes neither data, samples, likelihoods, weights nor global state."""
    stage = set_up(subject.case)  # afresh: an earlier evaluation may have changed the other
    arrays = {name: array.copy() for name, array in _arrays(stage).items()}
    weights = {k: v.clone() for k, v in stage.model.state_dict().items()}
    seed_globals()
    settings, generators = Kept.settings(), Kept.generators()
    subject.compute(stage, stage.splits, SETTINGS)
    changed = [name for name, a in _arrays(stage).items() if not np.array_equal(a, arrays[name])]
    if changed:
        return failed(f"compute changed {changed[0]} in place")
    now = stage.model.state_dict()
    if any(not torch.equal(now[name], value) for name, value in weights.items()):
        return failed("compute changed the model's weights")
    if stage.model.training:
        return failed("compute left the model in training mode")
    moved = [*settings.put_back(), *generators.put_back()]
    if moved:
        return failed(f"compute changed global state: {', '.join(moved)}")
    return passed("data, samples, likelihoods, weights and global state are as they were")


def _arrays(stage: Stage) -> dict[str, NDArray[Any]]:
    arrays = {"data.test.x": stage.splits.test.x, "data.train.x": stage.splits.train.x}
    if stage.shown is not None:
        arrays["samples().x"] = stage.shown.x
    if stage.result is not None:
        arrays["likelihood('test').log_prob"] = stage.result.log_prob
    return arrays
