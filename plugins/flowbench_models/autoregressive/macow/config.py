"""MaCow's configuration and its presets; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from flowbench.api import DatasetInfo, Phase, Preset, Training
from flowbench.api.frozen import Frozen
from flowbench_models.defaults import (
    DequantizedConfig,
    halving_problem,
    is_large,
    is_toy,
    small_training,
)

DECAY = 0.999997
"""Of the learning rate at each step; released code."""

STEPS_UNTIL_A_HUNDREDTH = 1_535_055
"""After which released training stops: its rate has fallen to a hundredth."""

CIFAR10_STEPS = 10_000 * -(-50_000 // 512)


def _training(*, steps: int, warmup_steps: int, init_examples: int, **values: Any) -> Training:
    return Training(
        lr=1e-3,
        phases=(
            Phase(schedule="exponential", warmup=warmup_steps / steps, final_lr_ratio=DECAY**steps),
        ),
        init_examples=init_examples,
        **values,
    )


CIFAR10 = _training(
    steps=CIFAR10_STEPS,
    warmup_steps=50,
    init_examples=2048,
    batch_size=512,
    augment=("horizontal_flip", "shift_tenth"),
)
IMAGENET64 = _training(
    steps=STEPS_UNTIL_A_HUNDREDTH, warmup_steps=500, init_examples=256, batch_size=512
)
CELEBA256 = _training(
    steps=STEPS_UNTIL_A_HUNDREDTH, warmup_steps=500, init_examples=32, batch_size=40
)

ONE_SHIFT = (
    "images are shifted by up to a tenth with their edges repeated, where the released code pads "
    "by 4 and reflects"
)
ONE_DRAW = "one draw of dequantization noise an image, where the released command takes more"
UNTIL = "training ends when the rate has fallen to a hundredth"


def _preset(
    summary: str, structure: Mapping[str, Any], training: Training, *assumptions: str, **values: Any
) -> Preset:
    return Preset(
        summary=summary,
        source="paper",
        values={**structure, "training": training, **values},
        assumptions=assumptions,
    )


class Levels(Frozen):
    """Levels of steps, each of which begins with a squeeze, but for the first.

    Attributes:
        steps: For each level how many steps there are, each number followed by an inner split, but
            for the first level and the last, which have one number and no split.
        factors: For each inner level: one part in so many of its channels leaves at each split.
        widths: Hidden channels of the couplings' networks of each level.
        reach: How many lines of the image a masked convolution sees.
        span: How many places it sees in each line, an odd number.

    Example:
        >>> Levels(steps=((1,), (2, 2), (1,)), factors=(4,), widths=(8, 16, 16)).steps[1]
        (2, 2)
    """

    steps: tuple[tuple[int, ...], ...] = Field(min_length=2)
    factors: tuple[int, ...] = ()
    widths: tuple[int, ...]
    reach: int = Field(default=2, ge=1)
    span: int = Field(default=3, ge=1)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        levels = len(self.steps)
        if len(self.factors) != levels - 2 or len(self.widths) != levels:
            raise ValueError(
                f"{levels} levels need {levels - 2} factors and {levels} widths, "
                f"got {len(self.factors)} and {len(self.widths)}"
            )
        if len(self.steps[0]) != 1 or len(self.steps[-1]) != 1:
            raise ValueError("steps of the first level and of the last are one number, as in (4,)")
        for steps, factor in zip(self.steps[1:-1], self.factors, strict=True):
            if not 0 < len(steps) < factor:
                raise ValueError(
                    f"steps {steps} split {len(steps)} times, which factor {factor} cannot; "
                    "set a larger factor or fewer splits"
                )
        if self.span % 2 == 0 or min(self.widths) < 1:
            raise ValueError(f"span {self.span} is odd, widths {self.widths} are positive")
        return self


FOUR_LEVELS: Mapping[str, Any] = {
    "levels": {
        "steps": ((4,), (12, 12), (12, 12), (12,)),
        "factors": (4, 4),
        "widths": (24, 512, 512, 512),
    },
    "dequantizer": {"steps": ((4,), (4,)), "widths": (24, 256)},
}
FIVE_LEVELS: Mapping[str, Any] = {
    "levels": {
        "steps": ((4,), (16, 16), (16, 16), (12, 12), (12,)),
        "factors": (4, 4, 4),
        "widths": (24, 512, 512, 512, 512),
        "span": 5,
    },
    "dequantizer": {"steps": ((6,), (6,), (4,)), "factors": (2,), "widths": (24, 256, 256)},
}
SEVEN_LEVELS: Mapping[str, Any] = {
    "coupling": "additive",
    "levels": {
        "steps": ((4,), (24, 24), (16, 16), (16, 16), (8, 8), (4, 4), (2,)),
        "factors": (4, 4, 4, 4, 4),
        "widths": (24, 256, 256, 256, 256, 256, 512),
        "span": 5,
    },
    "dequantizer": {"steps": ((2,), (4,), (4,)), "factors": (2,), "widths": (24, 256, 256)},
}

PRESETS: Mapping[str, Preset] = {
    "toy": Preset(
        summary="one step at the second of three sizes, for images of a few pixels",
        values={
            "levels": {"steps": ((0,), (1,), (0,)), "factors": (4,), "widths": (8, 16, 16)},
            "dequantizer": {"steps": ((0,), (1,)), "widths": (8, 16)},
            "training": small_training(),
        },
    ),
    "digits": Preset(
        summary="three levels of one and two steps, for a minute on digits (8x8)",
        tuning_trials=4,
        values={"training": small_training(batch_size=64, lr=6e-3)},
    ),
    "natural-patches": Preset(
        summary="four levels of one step, for minutes on 32x32 images",
        tuning_trials=2,
        values={
            "levels": {
                "steps": ((0,), (1, 1), (1, 1), (2,)),
                "factors": (4, 4),
                "widths": (8, 32, 32, 32),
            },
            "dequantization": "uniform",
            "training": small_training(batch_size=16, lr=6e-3),
        },
    ),
    "cifar10": _preset(
        "37,197,547 parameters, the CIFAR-10 model; --budget 10000epochs",
        FOUR_LEVELS,
        CIFAR10,
        ONE_SHIFT,
        dequantization="uniform",
    ),
    "cifar10-vdq": _preset(
        "38,403,423 parameters, the CIFAR-10 model with variational dequantization; "
        "--budget 10000epochs",
        FOUR_LEVELS,
        CIFAR10,
        ONE_SHIFT,
    ),
    "imagenet64": _preset(
        "117,244,127 parameters, the ImageNet 64x64 model; "
        f"--budget {STEPS_UNTIL_A_HUNDREDTH}steps",
        FIVE_LEVELS,
        IMAGENET64,
        UNTIL,
        dequantization="uniform",
    ),
    "imagenet64-vdq": _preset(
        "123,100,393 parameters, the ImageNet 64x64 model with variational dequantization; "
        f"--budget {STEPS_UNTIL_A_HUNDREDTH}steps",
        FIVE_LEVELS,
        IMAGENET64,
        UNTIL,
    ),
    "celeba256-vdq": _preset(
        "177,288,157 parameters, the CelebA-HQ 256x256 model (5-bit images) with variational "
        f"dequantization; --budget {STEPS_UNTIL_A_HUNDREDTH}steps",
        SEVEN_LEVELS,
        CELEBA256,
        UNTIL,
        ONE_DRAW,
    ),
}


class MaCowConfig(DequantizedConfig):
    """Configuration of MaCow.

    Attributes:
        levels: The flow's levels of steps.
        coupling: Whether masked convolutions and couplings are affine or additive; splits are
            affine.
        dequantizer: The dequantizer's levels of steps, which are affine.
        context_channels: Channels of what the dequantizer sees of an image.
        context_width: Channels that its network has more after each halving, up to four times as
            many.
    """

    levels: Levels = Levels(steps=((1,), (2, 2), (2,)), factors=(4,), widths=(16, 48, 48))
    coupling: Literal["affine", "additive"] = "affine"
    dequantizer: Levels = Levels(steps=((1,), (1,)), widths=(8, 16))
    context_channels: int = Field(default=4, ge=1)
    context_width: int = Field(default=32, ge=1)

    presets: ClassVar[Mapping[str, Preset]] = PRESETS

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``digits`` for images up to 16x16 or of odd sizes, else ``natural-patches``.

        Images of fewer than 8x8 pixels take ``toy``.
        """
        if is_toy(data):
            return "toy"
        return "natural-patches" if is_large(data) else "digits"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """MaCow halves images of integer levels, once for each level but the first."""
        deepest = len(self.levels.steps)
        if self.dequantization == "variational":
            deepest = max(deepest, len(self.dequantizer.steps))
        remedy = "set fewer levels"
        problem = halving_problem(
            data, deepest - 1, model=f"macow with {deepest} levels", remedy=remedy
        )
        return problem or super().unsupported(data)
