"""The trackers of flowbench itself: always there, whichever plugins are left out."""

from __future__ import annotations

from flowbench.api.hooks import API_VERSION, hookimpl
from flowbench.api.trackers import TrackerSpec

FLOWBENCH_API_VERSION = API_VERSION


@hookimpl
def register_trackers() -> list[TrackerSpec]:
    """Returns the trackers that ship with flowbench."""
    return [
        TrackerSpec(
            name="tensorboard",
            tracker="flowbench.runner.trackers.tensorboard:TensorBoard",
            summary="curves and results under RESULTS/tensorboard (extra tensorboard)",
        ),
        TrackerSpec(
            name="wandb",
            tracker="flowbench.runner.trackers.wandb:WandB",
            summary="Weights & Biases, offline unless WANDB_MODE says otherwise (extra wandb)",
        ),
    ]
