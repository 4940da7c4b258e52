"""Trained weights with what they cost, kept so that evaluation can be repeated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flowbench.api.models import GenerativeModel
from flowbench.data.preprocess import Preprocessor
from flowbench.evaluation.trained import TrainingCost
from flowbench.training.checkpoint import load_checkpoint, save_checkpoint


@dataclass(frozen=True, kw_only=True)
class Trained:
    """How a training ended. The weights themselves are in the model.

    Attributes:
        weights: Which weights were chosen.
        best_step: The step that they are from.
        skipped_steps: Steps without a finite loss and gradient.
    """

    weights: Literal["raw", "ema"]
    best_step: int
    steps: int
    examples: int
    skipped_steps: int
    cost: TrainingCost


COUNTS = ("steps", "examples", "skipped_steps", "weights", "best_step")


def keep_model(
    path: Path, model: GenerativeModel, preprocessor: Preprocessor, trained: Trained
) -> None:
    """Writes the weights of a model.

    Args:
        model: The model with the chosen weights.
    """
    state = {
        "model": model.state_dict(),
        "preprocessor": preprocessor.state_dict(),
        # As plain data: `weights_only` reads no class of ours.
        "cost": {**vars(trained.cost), "ledger": dict(trained.cost.ledger)},
        "counts": {name: getattr(trained, name) for name in COUNTS},
    }
    save_checkpoint(path, state)


def take_model(path: Path, model: GenerativeModel, preprocessor: Preprocessor) -> Trained:
    """Puts kept weights into a model, and leaves it in eval mode.

    Args:
        path: A file of `keep_model`.
        model: The model, built from the same configuration.

    Raises:
        StoreError: The file is missing or damaged.
    """
    state = load_checkpoint(path)
    model.load_state_dict(state["model"])
    model.eval()
    preprocessor.load_state_dict(state["preprocessor"])
    return Trained(**state["counts"], cost=TrainingCost(**state["cost"]))
