"""Who watches a training: told how it goes, asked whether it shall stop, handed what to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class Preempted(Exception):
    """Training was asked to stop; its state can be saved and taken up again."""


class Pruned(Exception):
    """Training is given up, since it is not worth what is left of its budget; it says why."""


@dataclass(frozen=True, kw_only=True)
class ValidationPoint:
    """What one look at the validation split found.

    Attributes:
        progress: Part of the budget used.
        loss: Mean training loss since the last look; None before the first step.
        raw: Score of the weights, lower is better; None for a model without a likelihood.
        ema: Score of the averaged weights.
        info: Means of what the loss says beside its value, since the last look.
    """

    step: int
    examples: int
    charged_s: float
    progress: float
    loss: float | None
    raw: float | None
    ema: float | None
    info: Mapping[str, float] = field(default_factory=dict)


class Unwatched:
    """Sees nothing of a training and asks nothing of it: who watches it sees another process."""

    def tick(self, step: int, progress: float) -> bool:
        """Goes on."""
        del step, progress
        return False

    def validated(self, point: ValidationPoint) -> None:
        """Looks at nothing."""

    def checkpoint_due(self) -> bool:
        """Saves nothing."""
        return False

    def save(self, state: dict[str, Any]) -> None:
        """Saves nothing."""


class Observer(Protocol):
    """Who watches the loop: the worker, or a test."""

    def tick(self, step: int, progress: float) -> bool:
        """Called before each step; True asks the loop to stop."""
        ...

    def validated(self, point: ValidationPoint) -> None:
        """Called after each look at the validation split."""
        ...

    def checkpoint_due(self) -> bool:
        """Called after each step: whether to save now."""
        ...

    def save(self, state: dict[str, Any]) -> None:
        """Saves a resumable state."""
        ...
