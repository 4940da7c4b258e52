"""EDM: a network that is told images and noise at the same scale, whatever their spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from flowbench.api import Batch, DatasetInfo, Ema, Preset, SamplingOptions, Step, WithInfo
from flowbench_models.nets.ddpmpp import DDPMpp
from pydantic import Field
from torch import Tensor, nn

from flowbench_families.diffusion.augmentation import NUM_CHANGES, changed
from flowbench_families.diffusion.config import (
    PATCHES,
    TOY,
    DiffusionConfig,
    DiffusionSampling,
    paper_training,
)
from flowbench_families.diffusion.continuous import ContinuousModel
from flowbench_families.diffusion.denoising import beside, normal

DATA_STD = 0.5
"""That of images whose levels go from -1 to 1, about; the paper's."""

SMALLEST, LARGEST = 0.002, 80.0
"""Spreads between which samples go; the paper's."""

LOG_MEAN, LOG_STD = -1.2, 1.2
"""Of the logarithm of spreads in training; the paper's."""

RHO = 7.0
"""The larger, the more steps are taken at small spreads; the paper's."""


class EDMSampling(DiffusionSampling):
    """How noise becomes an image: as of `DiffusionSampling`, by Heun's steps if not said."""

    solver: Literal["ancestral", "ddim", "heun"] = "heun"


class EDMConfig(DiffusionConfig):
    """Configuration of EDM.

    Attributes:
        augmentation: Chance of each of some changes that are made to a training image; the network
            is told of them, and that there are none where samples are drawn.
        sampling_steps: Steps of samples, where nothing else is asked for.
    """

    called: ClassVar[str] = "edm"

    augmentation: float = Field(default=0.0, ge=0, le=1)
    sampling_steps: int = Field(default=18, ge=1)

    sampling: ClassVar[type[SamplingOptions]] = EDMSampling
    presets: ClassVar[Mapping[str, Preset]] = {
        "digits": Preset(
            summary="a U-Net of two resolutions, for a minute on digits (8x8)",
            values={"training": {"lr": 4e-3}},
            tuning_trials=4,
        ),
        "natural-patches": Preset(
            summary="a U-Net of three resolutions, for minutes on 32x32 images",
            values=PATCHES,
            tuning_trials=2,
        ),
        "toy": Preset(summary="a U-Net of 8 channels, for images of a few pixels", values=TOY),
        "cifar10": Preset(
            summary="55,733,891 parameters (CIFAR-10, without labels); --budget 390625steps",
            source="paper",
            values={
                "width": 128,
                "blocks": 4,
                "multipliers": (2, 2, 2),
                "attention": (2,),
                "dropout": 0.13,
                "augmentation": 0.12,
                "training": paper_training(
                    steps=390_625,
                    batch_size=512,
                    lr=1e-3,
                    warmup_steps=19_531,
                    average=Ema(decay=0.5 ** (512 / 500_000)),
                ),
            },
            assumptions=(
                "changed images are resampled bilinearly (released: by wavelets, at twice the "
                "resolution)",
            ),
        ),
    }


class EDM(ContinuousModel):
    r"""EDM: :math:`D(y) = c_{skip} y + c_{out} F(c_{in} y, \tfrac14 \log s)`, of unit variance.

    References:
        Karras et al. (2022), Elucidating the Design Space of Diffusion-Based Generative Models,
        https://arxiv.org/abs/2206.00364, table 1 and algorithm 1. The paper reports no likelihood:
        that of here is the bound of `ContinuousModel`, between the spreads that samples go through.
    """

    config: EDMConfig

    def __init__(self, config: EDMConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.network = DDPMpp(
            data.event_shape[0],
            width=config.width,
            multipliers=config.multipliers,
            blocks=config.blocks,
            attention=config.attention,
            dropout=config.dropout,
        )
        self.told_changes = (
            nn.Linear(NUM_CHANGES, config.width, bias=False) if config.augmentation else None
        )

    def ends(self) -> tuple[Tensor, Tensor]:
        """Those of samples; see `ContinuousModel.ends`."""
        spreads = next(self.parameters()).new_tensor([self.smallest(SMALLEST), LARGEST])
        low, high = 2.0 * spreads.log()
        return low, high

    def prior_variance(self, spread: Tensor) -> Tensor:
        """Of noise alone: the image is lost in it."""
        return spread.square()

    def path(self, steps: int | None) -> Sequence[float]:
        """Equal distances of a root of the spread, and a last step to no noise."""
        num = steps or self.config.sampling_steps
        high, low = (s ** (1 / RHO) for s in (LARGEST, self.smallest(SMALLEST)))
        apart = (low - high) / max(num - 1, 1)
        return [*((high + apart * index) ** RHO for index in range(num)), 0.0]

    def corrected(
        self, y: Tensor, x: Tensor, ahead: Tensor, x_ahead: Tensor, start: float, end: float
    ) -> Tensor:
        """Heun's method as the paper has it: the mean of both ends' slopes."""
        slope = 0.5 * ((y - x) / start + (ahead - x_ahead) / end)
        return y + (end - start) * slope

    def denoise(
        self, y: Tensor, place: Tensor, changes: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """What the image is expected to be; see `DiffusionModel.denoise`.

        Args:
            y: Image and noise, shape (B, C, H, W).
            place: Spreads, shape (B,).
            changes: Of the image, shape (B, NUM_CHANGES); None for none.
        """
        spread = beside(place)
        both = (spread.square() + DATA_STD**2).sqrt()
        told = self.network.sinusoids(0.25 * place.log())
        if self.told_changes is not None and changes is not None:
            told = told + self.told_changes(changes)
        inner = self.network.given(self.network.time(told), y / both)
        return (DATA_STD / both) ** 2 * y + spread * DATA_STD / both * inner, None

    def loss(self, batch: Batch, step: Step) -> WithInfo:
        """Mean squared error of what the network adds."""
        x, changes = self.values(batch.x), None
        if self.config.augmentation:
            x, changes = changed(x, self.config.augmentation, step.generator)
        spread = (LOG_MEAN + LOG_STD * normal(x[:, 0, 0, 0], step.generator)).exp()
        y = x + beside(spread) * normal(x, step.generator)
        found, _ = self.denoise(y, spread, changes)
        weight = (spread.square() + DATA_STD**2) / (spread * DATA_STD).square()
        return (beside(weight) * (found - x).square()).mean()
