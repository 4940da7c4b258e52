"""Which weights of a training are kept: raw or averaged, of which step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from flowbench.api.models import GenerativeModel
from flowbench.api.training import LastK
from flowbench.training.device import Device
from flowbench.training.optim import LastMean, RampedAverage, WeightAverage
from flowbench.training.refit import Refit

Weights = Literal["raw", "ema"]
Validate = Callable[[GenerativeModel, float], float]
"""Scores weights, lower is better, on a part of what is looked at."""


@dataclass(frozen=True)
class Best:
    """The weights that scored best on validation so far.

    Attributes:
        score: What they were chosen by, lower is better.
        step: Optimizer steps done when they were scored.
        weights: Whether they are averaged.
        state: Parameters and buffers on the CPU, the buffers refitted.
        part: Part of a whole look that they were scored in.
    """

    score: float
    step: int
    weights: Weights
    state: dict[str, Tensor]
    part: float


class Choice:
    """Scores the raw and the averaged weights, and keeps the best of a training.

    Args:
        model: The model that is trained.
        refit: Makes what is estimated from data fit the weights, before each score.
        validate: Scores a model on the validation split; None where it has no likelihood.
        device: Where the model is.
        loss: The validation loss, where weights are chosen by that in place of the score.

    Attributes:
        losses: Validation losses that the last look saw, by what a curve calls them.
    """

    def __init__(
        self,
        model: GenerativeModel,
        refit: Refit,
        validate: Validate | None,
        device: Device,
        loss: Validate | None = None,
    ) -> None:
        training = model.config.training
        self.best: Best | None = None
        self.losses: dict[str, float] = {}
        self._model, self._refit, self._validate, self._device = model, refit, validate, device
        self._loss = loss
        self._keeps_best = training.select != "last"
        self._average: WeightAverage[GenerativeModel] | None = None
        if isinstance(training.average, LastK):
            self._average = LastMean(model, training.average.count, training.average.every)
        elif training.average is not None:
            decay = training.average.decay_of(training.batch_size)
            self._average = RampedAverage(model, decay)

    def step_taken(self) -> None:
        """Moves the average towards the weights, which were just stepped."""
        if self._average is not None:
            self._average.update()

    def restart(self) -> None:
        """Begins the average anew from the present weights, and forgets the best."""
        self.best = None
        if self._average is not None:
            self._average.restart()

    @property
    def averaged(self) -> GenerativeModel | None:
        """The model with averaged weights, in eval mode; None where no average is kept."""
        return None if self._average is None else self._average.model.eval()

    @property
    def selected_by(self) -> Literal["likelihood", "loss", "last"]:
        """What the weights to be kept are chosen by; they are the last where nothing was scored."""
        if self.best is None:
            return "last"
        return "likelihood" if self._loss is None else "loss"

    @property
    def num_scores(self) -> int:
        """How many weights a look scores: raw ones, and averaged ones where there are."""
        return 1 if self._average is None else 2

    def score(
        self, step: int, *, part: float = 1.0, averaged_alone: bool = False
    ) -> tuple[float | None, float | None]:
        """Scores the present weights and keeps them if they are the best so far.

        Scores of more examples stand for themselves: the best of fewer are forgotten.

        Args:
            step: Optimizer steps done; before the first there is no average.
            part: Part of a whole look that this one is.
            averaged_alone: Leave raw weights out where there is an average.

        Returns:
            Scores of the raw and the averaged weights, None for what cannot be scored.
        """
        self.losses.clear()
        # Before the first step the average is a copy of the weights: to score it is to pay twice.
        if self._average is None or not step:
            return self._score(self._model, "raw", step, part), None
        raw = None if averaged_alone else self._score(self._model, "raw", step, part)
        return raw, self._score(self._average.model, "ema", step, part)

    def _score(
        self, model: GenerativeModel, weights: Weights, step: int, part: float
    ) -> float | None:
        if self._validate is None and self._loss is None:
            return None
        model.eval()
        with self._refit.while_scored(model, part):
            with torch.no_grad(), self._device.numerics("float32"):
                score = self._validate(model, part) if self._validate is not None else None
                chosen_by = score
                if self._loss is not None:
                    chosen_by = self._loss(model, part)
                    self.losses[f"validation_loss/{weights}"] = chosen_by
            # Strictly better: of equal scores the earlier weights stay, so that ties are no matter
            # of chance.
            best = self.best if self.best is not None and self.best.part == part else None
            better = chosen_by is not None and chosen_by < (best.score if best else float("inf"))
            if chosen_by is not None and better and self._keeps_best:
                # On the host: on the device it would take the model's memory once more.
                state = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
                self.best = Best(chosen_by, step, weights, state, part)
        model.train()
        return score

    def load(self, step: int) -> tuple[Weights, int]:
        """Puts the weights that are to be kept into the model.

        Args:
            step: Optimizer steps done.

        Returns:
            Which they are, and the step they are from: the best on validation, or without a score
            to choose by those of the last step, averaged where there is an average.
        """
        if self.best is not None:
            self._model.load_state_dict(self.best.state)
            if self.best.part < 1.0:
                self._refit(self._model)
            return self.best.weights, self.best.step
        averaged = self._average is not None and step > 0
        if self._average is not None and averaged:
            # Through the property: its buffers are brought up to date by being asked for.
            self._model.load_state_dict(self._average.model.state_dict())
        # Weights that no look has scored have not been refitted either.
        self._refit(self._model)
        return "ema" if averaged else "raw", step

    def state_dict(self) -> dict[str, Any]:
        """The average and the best weights, for a checkpoint."""
        return {
            "average": self._average.state_dict() if self._average else None,
            "best": vars(self.best) if self.best else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up what `state_dict` returned."""
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self.best = Best(**state["best"]) if state["best"] else None
