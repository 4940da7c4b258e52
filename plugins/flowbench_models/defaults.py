"""What configurations start from: preprocessings, training of small runs, fitting sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import to_jsonable_python

from flowbench.api import (
    DatasetInfo,
    Ema,
    Likelihood,
    Logit,
    ModelConfig,
    NoLikelihood,
    Phase,
    Preprocessing,
    Scale,
    Standardise,
    Training,
    UniformDequantization,
)

# Centred, because zero-initialised couplings begin as identities and a standard normal is what
# latents are held to.
CENTRED = Preprocessing(noise=UniformDequantization(), bijections=(Scale(low=-0.5, high=0.5),))
LOGIT = Preprocessing(noise=UniformDequantization(), bijections=(Scale(), Logit(alpha=0.05)))
# Of released code on MNIST: a millionth is left out at either end.
SHARP_LOGIT = Preprocessing(noise=UniformDequantization(), bijections=(Scale(), Logit(alpha=1e-6)))
# For models that dequantize by themselves.
INTEGERS = Preprocessing(support="discrete")
# A column in metres and one in millimetres must not decide what a network looks at.
STANDARDISED = Preprocessing(bijections=(Standardise(per="dim"),))
LARGEST_TINY = 16
"""Height or width up to which an image takes a model's smallest preset."""

SMALLEST_TINY = 8
"""Height or width below which an image takes a toy of a preset, where a model has one."""


def small_training(
    *, batch_size: int = 64, lr: float = 3e-3, weight_decay: float = 0.1
) -> Training:
    """Training that was found good for runs of minutes: AdamW, clipped, with averaged weights.

    Args:
        lr: Peak learning rate.

    Returns:
        The settings.
    """
    return Training(
        batch_size=batch_size,
        optimizer="adamw",
        lr=lr,
        weight_decay=weight_decay,
        clip_norm=10.0,
        average=Ema(decay=0.99),
    )


INERT_DECAY = (
    "the released schedule decays its learning rate by the epoch, but its warm-up rewrites the "
    "rate at every step: what trained the published models, and is done here, is a constant rate"
)


@dataclass(frozen=True, kw_only=True)
class AdamaxRun:
    """A run of the published commands of SurVAE flows, and of DenseFlow, which is built on them.

    Attributes:
        epochs: Epochs at a rate of 1e-3, of which 5000 steps warm up.
        fine_tuning: Epochs at ``fine_tuning_lr``.
        num_train: Training images.
        batch_size: Images of a step.
        augment: As in `Training`.
    """

    epochs: int
    fine_tuning: int
    num_train: int
    batch_size: int = 64
    fine_tuning_lr: float = 2e-5
    augment: tuple[Literal["horizontal_flip", "shift"], ...] = ("horizontal_flip", "shift")

    def training(self) -> Training:
        """Its settings: a constant rate after a warm-up, then fine-tuning."""
        share = self.epochs / (self.epochs + self.fine_tuning)
        steps = self.epochs * -(-self.num_train // self.batch_size)
        return Training(
            batch_size=self.batch_size,
            optimizer="adamax",
            lr=1e-3,
            phases=(
                Phase(share=share, schedule="constant", warmup=5000 / steps),
                Phase(share=1.0 - share, lr=self.fine_tuning_lr, schedule="constant", warmup=0.0),
            ),
            augment=self.augment,
            init_examples=self.batch_size,
        )


VECTOR_TRAINING = Training(
    batch_size=256, optimizer="adam", lr=2e-3, clip_norm=10.0, average=Ema(decay=0.999)
)

TABLE_TRAINING = Training(
    batch_size=256,
    optimizer="adamw",
    lr=2e-3,
    weight_decay=1.0,
    clip_norm=10.0,
    average=Ema(decay=0.99),
)
"""For tables of some hundred rows, which flows overfit in seconds."""

OVERVIEW_ASSUMPTIONS = (
    "second-hand numbers of an undated page without a named author, the upper end of each range",
)

OVERVIEW_INFERENCE = (
    *OVERVIEW_ASSUMPTIONS,
    "the last act norm is the Gaussian base with learned mean and spread; a target's log-density "
    "comes in linearly over the first half of the training",
)


class ConditionalConfig(ModelConfig):
    """Base of configurations of flows that may be conditioned on what a dataset gives.

    Attributes:
        given: Names of the context inputs that the density is conditioned on, labels or real
            values; none for the density of the data alone.
    """

    fits_targets: ClassVar[bool] = True

    given: tuple[str, ...] = ()

    def likelihood(self, data: DatasetInfo) -> Likelihood | NoLikelihood:
        """As for any exact flow, given the context."""
        kind = super().likelihood(data)
        return (
            kind
            if isinstance(kind, NoLikelihood)
            else kind.model_copy(update={"given": self.given})
        )

    def unsupported(self, data: DatasetInfo) -> str | None:
        """What is given must be in the data."""
        missing = [name for name in self.given if name not in data.context]
        if missing:
            known = ", ".join(data.context) or "none"
            return f"given={missing[0]} is no context of {data.name}; it has: {known}"
        return super().unsupported(data)


class DequantizedConfig(ModelConfig):
    """Base of configurations of flows of images that may dequantize by themselves.

    Attributes:
        continuous: How images come under uniform dequantization.
        dequantization: ``variational``, by a flow of its own, or ``uniform``.
        logit_alpha: Alpha of a logit after variational dequantization; None centres instead.
    """

    continuous: ClassVar[Preprocessing] = CENTRED

    dequantization: Literal["variational", "uniform"] = "variational"
    logit_alpha: float | None = Field(default=None, gt=0, lt=0.5)
    preprocessing: Preprocessing = INTEGERS

    @model_validator(mode="before")
    @classmethod
    def _preprocessing_follows_dequantization(cls, values: Any) -> Any:
        """Lets ``dequantization`` alone switch between the two usual preprocessings."""
        if not isinstance(values, Mapping):
            return values
        variational = values.get("dequantization", "variational") == "variational"
        # Only the two usual ones are exchanged: a preprocessing of the user's own stays and is
        # checked.
        wanted, other = (INTEGERS, cls.continuous)
        if not variational:
            wanted, other = other, wanted
        # As plain data: it may come as an object, from a preset or as JSON.
        given = to_jsonable_python(values.get("preprocessing", INTEGERS))
        if given == other.model_dump(mode="json"):
            return {**values, "preprocessing": wanted}
        return values

    @model_validator(mode="after")
    def _dequantizes_what_comes(self) -> Self:
        discrete = self.preprocessing.support == "discrete"
        if discrete != (self.dequantization == "variational"):
            raise ValueError(
                f"dequantization={self.dequantization} contradicts preprocessing.support="
                f"{self.preprocessing.support}; variational needs discrete, uniform continuous"
            )
        if self.logit_alpha is not None and not discrete:
            raise ValueError(
                "logit_alpha goes with dequantization=variational; otherwise add a logit to "
                "preprocessing.bijections"
            )
        return self

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Only integer levels can be dequantized."""
        if len(data.event_shape) == 3 and data.levels is None:
            model = type(self).__name__.removesuffix("Config").lower()
            return f"{model} dequantizes integer levels, {data.name} has real values"
        return super().unsupported(data)

    def likelihood(self, data: DatasetInfo) -> Likelihood:
        """A bound: the noise of dequantization, and other, is integrated by importance."""
        return Likelihood(
            measure="discrete", dequantization=self.dequantization, noise="weights", bound=True
        )


def is_large(data: DatasetInfo) -> bool:
    """Whether events are images above 16x16 whose size can be halved three times.

    Returns:
        True for those that a preset of three scales fits.
    """
    height, width = data.event_shape[-2:] if len(data.event_shape) == 3 else (0, 0)
    # Eight, so that three squeezes leave whole pixels.
    return min(height, width) > LARGEST_TINY and height % 8 == width % 8 == 0


def is_toy(data: DatasetInfo) -> bool:
    """Whether events are images of fewer than 8x8 pixels, which no task has but the contract's.

    Returns:
        True for those that a model's smallest preset fits: each of its parts, few times.
    """
    return len(data.event_shape) == 3 and max(data.event_shape[1:]) < SMALLEST_TINY


def halving_problem(data: DatasetInfo, times: int, *, model: str, remedy: str) -> str | None:
    """Why events cannot be squeezed so often.

    Args:
        times: How often height and width are halved.
        model: Beginning of the message: the model, and the setting that asks for it.
        remedy: End of the message.

    Returns:
        The reason; None if events are images of a fitting size.
    """
    shape = data.event_shape
    if len(shape) != 3:
        return f"{model} needs images (C, H, W), {data.name} has events of shape {shape}"
    _, height, width = shape
    factor = 2**times
    if height % factor or width % factor:
        return (
            f"{model} needs height and width divisible by {factor}, "
            f"{data.name} has {height}x{width}; {remedy}"
        )
    return None
