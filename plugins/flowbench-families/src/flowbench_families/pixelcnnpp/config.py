"""PixelCNN++'s configuration and its presets; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from flowbench.api import Ema, Phase, Preset, Training
from pydantic import Field

from flowbench_families.pixels import PixelConfig

EPOCHS = 5000
STEPS = EPOCHS * -(-50_000 // 128)
DECAY = 0.999995
"""Of the learning rate in a step; released code."""

CIFAR10 = Training(
    batch_size=128,
    lr=1e-3,
    betas=(0.95, 0.9995),
    average=Ema(decay=0.9995),
    phases=(Phase(schedule="exponential", warmup=0.0, final_lr_ratio=DECAY**STEPS),),
    init_examples=16,
)


class PixelCNNPPConfig(PixelConfig):
    """Configuration of PixelCNN++.

    Attributes:
        blocks: Residual blocks of each stream at each resolution; on the way back one more.
        resolutions: At most so many, each half as high and wide as that before; what is odd, or two
            pixels high or wide, is not halved.
        components: Logistics in a pixel's mixture.
        dropout: Part of hidden values that are dropped in training.
    """

    called = "pixelcnnpp"

    blocks: int = Field(default=1, ge=1)
    resolutions: int = Field(default=3, ge=1)
    components: int = Field(default=5, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    presets: ClassVar[Mapping[str, Preset]] = {
        "digits": Preset(
            summary="one block of 32 channels, for a minute on digits (8x8)", tuning_trials=4
        ),
        "natural-patches": Preset(
            summary="one block of 32 channels, for minutes on 32x32 images",
            values={"training": {"batch_size": 16, "lr": 6e-3}},
            tuning_trials=2,
        ),
        "cifar10": Preset(
            summary="53,659,080 parameters, 53,618,660 with weight norms folded in (CIFAR-10)",
            source="paper",
            values={
                "width": 160,
                "blocks": 5,
                "components": 10,
                "dropout": 0.5,
                "training": CIFAR10,
            },
            assumptions=("trained for 5000 epochs, the most that the released command runs",),
        ),
    }
