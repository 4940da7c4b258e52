"""What all diffusion models are configured by; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from flowbench.api import (
    DatasetInfo,
    Ema,
    Likelihood,
    NoLikelihood,
    NoTemperature,
    Phase,
    SampleSettings,
    SamplingOptions,
    Training,
)
from pydantic import Field, PositiveInt, model_validator

from flowbench_families.pixels import PixelConfig

LADDER = (2, 4, 8, 16, 32, 64)
"""Steps in which samples are drawn for a curve of quality against cost."""

SMALLEST_DIGIT = 8
"""Height or width below which an image takes the smallest preset."""


class DiffusionSampling(NoTemperature):
    """How noise becomes an image (``--sample solver=ddim,steps=50``).

    Attributes:
        solver: ``ancestral`` draws new noise at each step; ``ddim`` draws none, and follows the
            probability flow by steps of first order; ``heun`` does so by steps of second order,
            which cost two evaluations each.
        steps: Number of steps; None takes the model's own.
    """

    solver: Literal["ancestral", "ddim", "heun"] = "ancestral"
    steps: int | None = Field(default=None, ge=1)


def small_training(**changes: Any) -> Training:
    """Training for runs of minutes: the averaged weights of the last step are kept."""
    return Training.model_validate(
        {
            "batch_size": 32,
            "optimizer": "adamw",
            "lr": 2e-3,
            "clip_norm": 1.0,
            "average": Ema(decay=0.999),
            "select": "last",
            **changes,
        }
    )


def paper_training(*, steps: int, warmup_steps: int = 0, **changes: Any) -> Training:
    """Adam at a constant rate after a warm-up, as released code trains."""
    phase = Phase(schedule="constant", warmup=warmup_steps / steps)
    return Training.model_validate(
        {
            "batch_size": 128,
            "lr": 2e-4,
            "average": Ema(decay=0.9999),
            "select": "last",
            "phases": (phase,),
            **changes,
        }
    )


class DiffusionConfig(PixelConfig):
    """Base of configurations of diffusion models, by a U-Net.

    Attributes:
        width: Channels of the first stage, which are even.
        blocks: Residual blocks of each resolution; one more on the way back.
        multipliers: Channels of each resolution, as multiples of ``width``.
        attention: Factors by which height and width are divided where blocks attend; beside them
            the middle does.
        dropout: Part of hidden values that are dropped in training.
    """

    width: int = Field(default=24, ge=2)
    blocks: int = Field(default=1, ge=1)
    multipliers: tuple[PositiveInt, ...] = Field(default=(1, 2), min_length=1)
    attention: tuple[PositiveInt, ...] = ()
    dropout: float = Field(default=0.0, ge=0, lt=1)
    training: Training = small_training()

    sampling: ClassVar[type[SamplingOptions]] = DiffusionSampling

    @model_validator(mode="after")
    def _sinusoids_come_in_pairs(self) -> Self:
        if self.width % 2:
            raise ValueError(f"width must be even, got {self.width}")
        return self

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``digits`` for images up to 16x16, ``toy`` below 8x8, else ``natural-patches``."""
        small = max(data.event_shape[1:], default=1) < SMALLEST_DIGIT
        return "toy" if small else super().default_preset(data)

    def likelihood(self, data: DatasetInfo) -> Likelihood | NoLikelihood:
        """A bound, of which each draw is an estimate: draws are averaged."""
        del data
        return Likelihood(measure="discrete", noise="estimates", bound=True)

    def sampling_ladder(self, data: DatasetInfo) -> tuple[SampleSettings, ...]:
        """Few steps to many, along the probability flow."""
        del data
        return tuple(SampleSettings(options={"solver": "ddim", "steps": steps}) for steps in LADDER)

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Images of integer levels, whose size can be halved as often as there are resolutions."""
        reason = super().unsupported(data)
        if reason is not None:
            return reason
        factor = 2 ** (len(self.multipliers) - 1)
        height, width = data.event_shape[1:]
        if height % factor or width % factor:
            return (
                f"{len(self.multipliers)} multipliers need height and width divisible by "
                f"{factor}, {data.name} has {height}x{width}; set fewer multipliers"
            )
        return None


TOY: Mapping[str, Any] = {"width": 8}
"""The network for images of a few pixels."""

PATCHES: Mapping[str, Any] = {
    "width": 16,
    "multipliers": (1, 2, 2),
    "training": small_training(batch_size=16, lr=4e-3, augment=("horizontal_flip",)),
}
"""Network and training for minutes on 32x32 images."""
