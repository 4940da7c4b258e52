"""Optimizers, schedules over progress, averaged weights, and the guard against bad gradients."""

from __future__ import annotations

import copy
import math
from collections import deque
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from flowbench.api.training import ALIKE, Group, Phase, Training

ModelT = TypeVar("ModelT", bound=nn.Module)


def build_optimizer(
    training: Training, parameters: list[nn.Parameter], apart: Group = ALIKE
) -> torch.optim.Optimizer:
    """Builds the optimizer of one parameter group.

    Args:
        apart: What sets it apart from the training's other groups.

    Returns:
        The optimizer, fused where torch has such a form.
    """
    lr, betas = apart.lr_scale * training.lr, apart.betas or training.betas
    decay = training.weight_decay if apart.weight_decay is None else apart.weight_decay
    # Counts its steps on the device, too, as a recorded step has to; torch allows it on GPUs alone.
    capturable = training.graph and parameters[0].is_cuda
    # Not fused: torch has no fused form of these two.
    if training.optimizer == "adamax":
        return torch.optim.Adamax(
            parameters, lr, betas, weight_decay=decay, foreach=True, capturable=capturable
        )
    if training.optimizer == "rmsprop":
        return torch.optim.RMSprop(
            parameters,
            lr,
            alpha=betas[1],
            momentum=betas[0],
            weight_decay=decay,
            foreach=True,
            capturable=capturable,
        )
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr, betas[0], weight_decay=decay, fused=True)
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr, betas, weight_decay=decay, fused=True, capturable=capturable)


class Schedule:
    """Learning rate and phase as functions of the budget's progress.

    Args:
        step: What one step adds to the progress at least. A warm-up that is shorter than a step is
            left out: it would set the rate of that whole step to 0.
    """

    def __init__(self, training: Training, step: float = 0.0) -> None:
        self._step = step
        self._phases = training.phases
        self._lr = training.lr
        self._ends = [sum(p.share for p in self._phases[: i + 1]) for i in range(len(self._phases))]

    def phase(self, progress: float) -> int:
        """Index of the phase.

        Args:
            progress: Part of the budget used.

        Returns:
            The index, that of the last phase from 1 on.
        """
        # Without the last end: at a progress of 1 and beyond the last phase goes on.
        past = sum(progress >= end for end in self._ends[:-1])
        return int(past)

    def lr(self, progress: float) -> float:
        """The learning rate.

        Args:
            progress: Part of the budget used.
        """
        index = self.phase(progress)
        phase = self._phases[index]
        begin = self._ends[index] - phase.share
        # Sums of shares are rounded: a progress may lie a little outside of its own phase.
        local = min(max((progress - begin) / phase.share, 0.0), 1.0)
        warms_up = self._step / phase.share < phase.warmup
        return (phase.lr or self._lr) * _shape(phase, local, warms_up)


def _shape(phase: Phase, local: float, warms_up: bool) -> float:
    """Part of the peak rate at a part of a phase."""
    if local < phase.warmup and not warms_up:
        return 1.0
    if local < phase.warmup:
        return local / phase.warmup
    after = (local - phase.warmup) / (1.0 - phase.warmup)
    final = phase.final_lr_ratio
    match phase.schedule:
        case "constant":
            return 1.0
        case "step":
            return float(phase.drop_ratio ** sum(local >= drop for drop in phase.drops))
        case "exponential":
            return float(final**after)
        case "cosine":
            fall = 0.5 * (1.0 + math.cos(math.pi * after))
        case "linear":
            fall = 1.0 - after
        case "polynomial":
            fall = (1.0 - after) ** phase.power
    return final + (1.0 - final) * fall


class GuardedStep:
    """An optimizer's step that what is not finite cannot spoil, decided on the device.

    Fused optimizers take a ``found_inf`` flag and leave weights and moments untouched. The others
    see a zero gradient: their moments decay, their weights move on by momentum alone. Neither waits
    for the device.

    Args:
        training: The settings, among them the largest global gradient norm.
        apart: What sets this group apart from others.

    Attributes:
        norm: Global norm of the last gradient, before clipping, shape (); 0 for a bad one.
    """

    def __init__(
        self, training: Training, parameters: list[nn.Parameter], apart: Group = ALIKE
    ) -> None:
        self._training, self._parameters, self._apart = training, parameters, apart
        self._clip_norm = training.clip_norm
        self.norm = torch.zeros(())
        self.restart()

    def restart(self) -> None:
        """Forgets all moments."""
        self._optimizer = build_optimizer(self._training, self._parameters, self._apart)
        self._fused = bool(self._optimizer.defaults.get("fused"))

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for parameter in self._parameters:
            # None and not zero: an optimizer skips a parameter that the loss did not reach.
            parameter.grad = None

    def __call__(self, lr: float | Tensor, loss: Tensor) -> Tensor:
        """Clips, guards and steps.

        Args:
            lr: The learning rate; as a tensor of shape (), a recorded step reads it anew each time.
            loss: What the gradients are of, shape (): it may be NaN where they are not.

        Returns:
            1 if the loss or the gradient was not finite, else 0; shape (), on the device.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self._apart.lr_scale * lr
        present = [p.grad for p in self._parameters if p.grad is not None]
        # One norm serves both ends: it is not finite as soon as any gradient, or the loss, is not.
        norm = torch.nn.utils.get_total_norm(present) + 0.0 * loss
        self.norm = norm.nan_to_num(0.0, 0.0, 0.0)  # a mean over steps outlives a bad one
        bad = (~torch.isfinite(norm)).to(torch.float32)
        if self._fused:
            self._optimizer.found_inf = bad  # type: ignore[attr-defined]
        elif norm.is_cpu:  # there is no device to wait for
            if bad:
                torch._foreach_zero_(present)
        else:
            zero_if(bad, present)
        if self._clip_norm is not None:
            # 1e-6 as in `torch.nn.utils.clip_grad_norm_`. A norm that is not finite must not scale:
            # it would turn the gradients that were just zeroed into NaN.
            scale = torch.clamp(self._clip_norm / (norm + 1e-6), max=1.0)
            torch._foreach_mul_(present, torch.where(bad.bool(), torch.ones_like(scale), scale))
        self._optimizer.step()
        return bad

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up the optimizer where it was left.

        Args:
            state: What `state_dict` returned.
        """
        self._optimizer.load_state_dict(state)


def zero_if(bad: Tensor, gradients: list[Tensor]) -> None:
    """Zeroes gradients without waiting for the device, in few launches however many they are.

    Args:
        bad: Whether to, shape (): anything but 0.
        gradients: Changed in place; what is not finite in them is gone, too.
    """
    # Laid out as one: a choice for each would be some launches for each, more than all of a step.
    flat = torch.where(bad.bool(), 0.0, torch.cat([g.reshape(-1) for g in gradients]))
    pieces = flat.split([g.numel() for g in gradients])
    torch._foreach_copy_(
        gradients, [piece.view_as(g) for piece, g in zip(pieces, gradients, strict=True)]
    )


class WeightAverage(Generic[ModelT]):
    """Averaged weights beside those of a training.

    Parameters alone are averaged; buffers are those of the model at the time of a look, and
    batch-norm statistics are re-estimated by the loop.

    Args:
        model: The model to average; it is initialised already.
    """

    def __init__(self, model: ModelT) -> None:
        self._updates = 0
        self._source = model
        self._model = copy.deepcopy(model)  # it names the same optimizer groups
        # Views of the same memory: after a step they hold the new weights.
        self._current: list[Tensor] = [p.detach() for p in model.parameters()]
        self._averaged: list[Tensor] = list(self._model.parameters())

    @property
    def model(self) -> ModelT:
        """The model with averaged weights and the present buffers."""
        # Buffers are no weights: an average of counters or of statistics belongs to no model.
        for mine, theirs in zip(self._model.buffers(), self._source.buffers(), strict=True):
            mine.copy_(theirs)
        return self._model

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights of the model, which was just stepped."""
        self._updates += 1
        self._take_in()

    @torch.no_grad()
    def restart(self) -> None:
        """Begins anew from the present weights."""
        self._updates = 0
        torch._foreach_copy_(self._averaged, self._current)

    def _take_in(self) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs."""
        return {"model": self._model.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up an average where it was left.

        Args:
            state: What `state_dict` returned.
        """
        self._model.load_state_dict(state["model"])
        self._updates = int(state["updates"])


class LastMean(WeightAverage[ModelT]):
    """Plain mean of the last weights that were taken at regular distances.

    Until the first of them it is the present weights themselves.

    Args:
        count: Number of weights that the mean is over.
        every: Steps from one of them to the next.
    """

    def __init__(self, model: ModelT, count: int, every: int) -> None:
        super().__init__(model)
        self._every = every
        # On the host: ten copies of a large model would take its room on the device.
        self._taken: deque[list[Tensor]] = deque(maxlen=count)

    def restart(self) -> None:
        """Forgets the weights taken."""
        super().restart()
        self._taken.clear()

    def _take_in(self) -> None:
        if self._updates % self._every:
            if not self._taken:
                torch._foreach_copy_(self._averaged, self._current)
            return
        self._taken.append([p.to("cpu", copy=True) for p in self._current])
        for mean, *taken in zip(self._averaged, *self._taken, strict=True):
            mean.copy_(torch.stack(taken).mean(dim=0))

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs."""
        return {**super().state_dict(), "taken": list(self._taken)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a mean where it was left."""
        super().load_state_dict(state)
        self._taken.clear()
        self._taken.extend([p.cpu() for p in taken] for taken in state["taken"])


class RampedAverage(WeightAverage[ModelT]):
    r"""Exponential moving average of weights, :math:`d_n = \min(d, (1 + n) / (10 + n))`.

    The ramp keeps short runs from being stuck at their initial weights. (torch's `AveragedModel`
    walks all modules at every update, which took a tenth of a small flow's step.)

    Args:
        decay: Largest decay d.
    """

    def __init__(self, model: ModelT, decay: float) -> None:
        super().__init__(model)
        self._decay = decay

    def _take_in(self) -> None:
        decay = min(self._decay, (1.0 + self._updates) / (10.0 + self._updates))
        torch._foreach_lerp_(self._averaged, self._current, 1.0 - decay)
