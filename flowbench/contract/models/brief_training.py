"""A few steps of the harness's own training loop, watched by nobody."""

from __future__ import annotations

from typing import Any

from flowbench.api.data import Split
from flowbench.api.models import GenerativeModel
from flowbench.budget import Budget
from flowbench.data.batches import TrainBatches
from flowbench.data.preprocess import Preprocessor
from flowbench.training.clock import Clock
from flowbench.training.device import Device
from flowbench.training.loop import Trainer
from flowbench.training.observer import Observer, ValidationPoint

BATCH_SIZE = 64  # whatever the preset says: a paper's batch would take minutes on a CPU


def train(
    model: GenerativeModel,
    preprocessor: Preprocessor,
    split: Split,
    num_steps: int,
    limit_s: float | None = None,
    *,
    observer: Observer | None = None,
    state: dict[str, Any] | None = None,
) -> None:
    """Trains a model in place.

    Args:
        model: The model, initialised.
        preprocessor: The harness's preprocessing, fitted.
        split: What it is trained on.
        num_steps: Optimizer steps.
        limit_s: Charged seconds after which training ends all the same.
        observer: Stops it, or keeps something of it.
        state: Where it goes on from.
    """
    device = Device("cpu", "contract", None)
    augment = model.config.training.augment

    def stream(seed: int) -> TrainBatches:
        return TrainBatches(split, BATCH_SIZE, seed, device.torch_device, augment)

    trainer = Trainer(
        model,
        preprocessor,
        stream,
        # The first limit that is reached: a slow model is trained less, and the check still ends.
        budget=Budget(steps=num_steps, seconds=limit_s),
        clock=Clock(),
        device=device,
        seed=0,
        validate=None,
        observer=observer or Nobody(),
    )
    if state is not None:
        trainer.load_state_dict(state)
    trainer.run()


class Nobody:
    """An observer that neither stops training nor keeps anything of it."""

    def tick(self, step: int, progress: float) -> bool:
        """Asks it to go on."""
        del step, progress
        return False

    def validated(self, point: ValidationPoint) -> None:
        """Keeps nothing of a look."""
        del point

    def checkpoint_due(self) -> bool:
        """Wants no checkpoint."""
        return False

    def save(self, state: dict[str, Any]) -> None:
        """Keeps nothing of a state."""
        del state
