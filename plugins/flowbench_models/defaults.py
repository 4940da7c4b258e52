"""What configurations start from: preprocessings, training of small runs, fitting sizes."""

from __future__ import annotations

from typing import ClassVar

from flowbench.api import (
    DatasetInfo,
    Ema,
    Likelihood,
    Logit,
    ModelConfig,
    NoLikelihood,
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
# A column in metres and one in millimetres must not decide what a network looks at.
STANDARDISED = Preprocessing(bijections=(Standardise(per="dim"),))
LARGEST_TINY = 16
"""Height or width up to which an image takes a model's smallest preset."""


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


def is_large(data: DatasetInfo) -> bool:
    """Whether events are images above 16x16 whose size can be halved three times.

    Returns:
        True for those that a preset of three scales fits.
    """
    height, width = data.event_shape[-2:] if len(data.event_shape) == 3 else (0, 0)
    # Eight, so that three squeezes leave whole pixels.
    return min(height, width) > LARGEST_TINY and height % 8 == width % 8 == 0


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
