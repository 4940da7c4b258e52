"""SurVAE flows of images: max pooling, or slicing, between scales of dense couplings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from flowbench.api import DatasetInfo, Preset
from flowbench_models.bijections.base import (
    Bijection,
    BoundedAffine,
    Composition,
    HalfCoupling,
    Surjection,
)
from flowbench_models.bijections.channels import ChannelGaussian, FullConv1x1, Squeeze
from flowbench_models.bijections.dequantization import DenseDequantizer, LevelScaling
from flowbench_models.bijections.multiscale import MultiScale, MultiScaleModel
from flowbench_models.bijections.surjections import MaxPool, Slice
from flowbench_models.defaults import (
    INERT_DECAY,
    AdamaxRun,
    DequantizedConfig,
    halving_problem,
    is_large,
    small_training,
)
from flowbench_models.nets.convolution import DenseNet

PAPER: Mapping[str, Any] = {
    "width": 64,
    "depth": 10,
    "growth": 64,
    "dequantizer_steps": 4,
    "context_width": 32,
    "context_depth": 4,
    "context_growth": 16,
}
CIFAR10 = AdamaxRun(epochs=500, fine_tuning=50, num_train=50_000, batch_size=32)
IMAGENET32 = AdamaxRun(
    epochs=25, fine_tuning=2, num_train=1_281_149, batch_size=32, fine_tuning_lr=5e-5, augment=()
)
IMAGENET64 = AdamaxRun(
    epochs=20, fine_tuning=2, num_train=1_281_149, batch_size=32, fine_tuning_lr=5e-5, augment=()
)
TWO_SCALES = {"scales": 2, "steps": 12}
THREE_SCALES = {"scales": 3, "steps": 8}


def _paper(summary: str, pooling: str, structure: Mapping[str, int], run: AdamaxRun) -> Preset:
    return Preset(
        summary=f"{summary}; --budget {run.epochs + run.fine_tuning}epochs",
        source="paper",
        values={**PAPER, **structure, "pooling": pooling, "training": run.training()},
        assumptions=(INERT_DECAY,),
    )


class SurVAEConfig(DequantizedConfig):
    """Configuration of SurVAE flows.

    Attributes:
        scales: Scales of an image; the first begins with squeezing.
        steps: Steps in each scale: 1x1 convolution, coupling.
        pooling: What is between two scales: ``max`` pooling, or ``none``: squeezing and slicing.
        width: Channels of the networks' dense blocks.
        depth: Layers of each dense block of a coupling's network.
        growth: Channels that each of them appends.
        dequantizer_steps: Steps of the variational dequantizer.
        context_width: Channels of what the dequantizer sees of an image.
        context_depth: Layers of the dense blocks that make it.
        context_growth: Channels that each of them appends.
    """

    scales: int = Field(default=2, ge=1)
    steps: int = Field(default=4, ge=1)
    pooling: Literal["max", "none"] = "max"
    width: int = Field(default=16, ge=1)
    depth: int = Field(default=2, ge=1)
    growth: int = Field(default=16, ge=1)
    dequantizer_steps: int = Field(default=2, ge=1)
    context_width: int = Field(default=8, ge=1)
    context_depth: int = Field(default=1, ge=1)
    context_growth: int = Field(default=8, ge=1)

    presets: ClassVar[Mapping[str, Preset]] = {
        "digits": Preset(
            summary="two scales of four steps, for a minute on digits (8x8)",
            tuning_trials=4,
            values={"logit_alpha": 0.05, "training": small_training(batch_size=64, lr=6e-3)},
        ),
        "natural-patches": Preset(
            summary="three scales of four steps, for minutes on 32x32 images",
            tuning_trials=2,
            values={
                "scales": 3,
                "dequantization": "uniform",
                "training": small_training(batch_size=16, lr=6e-3),
            },
        ),
        "max-pool": _paper(
            "105,023,968 parameters, max pooling (CIFAR-10)", "max", TWO_SCALES, CIFAR10
        ),
        "no-pool": _paper(
            "105,023,968 parameters, squeezing and slicing (CIFAR-10)", "none", TWO_SCALES, CIFAR10
        ),
        "max-pool-imagenet32": _paper(
            "105,023,968 parameters, max pooling (ImageNet 32x32)", "max", TWO_SCALES, IMAGENET32
        ),
        "no-pool-imagenet32": _paper(
            "105,023,968 parameters, squeezing and slicing (ImageNet 32x32)",
            "none",
            TWO_SCALES,
            IMAGENET32,
        ),
        "max-pool-imagenet64": _paper(
            "105,023,968 parameters, max pooling (ImageNet 64x64)", "max", THREE_SCALES, IMAGENET64
        ),
        "no-pool-imagenet64": _paper(
            "105,023,968 parameters, squeezing and slicing (ImageNet 64x64)",
            "none",
            THREE_SCALES,
            IMAGENET64,
        ),
    }

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``digits`` for images up to 16x16 or of odd sizes, else ``natural-patches``."""
        return "natural-patches" if is_large(data) else "digits"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """SurVAE flows halve images of integer levels, once for each scale."""
        name, remedy = f"survae with scales={self.scales}", "set fewer scales"
        problem = halving_problem(data, self.scales, model=name, remedy=remedy)
        return problem or super().unsupported(data)


class SurVAE(MultiScaleModel):
    r"""A SurVAE flow.

    Levels are dequantized and squeezed; each scale runs ``steps`` times [1x1 convolution, coupling]
    on four times the image's channels; between two scales max pooling keeps the largest of four
    values, or, of as many channels once more squeezed, the first quarter is kept. What is lost
    becomes a latent. The last scale's output is a learned Gaussian a channel.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Nielsen et al. (2020), SurVAE Flows: Surjections to Bridge the Gap between VAEs and Flows,
        https://arxiv.org/abs/2007.02731, section 5.3, with the details of the released code.
        Departure: parameters of a coupling are halves of its network's channels, where the
        released code takes even and odd channels.
    """

    config: SurVAEConfig

    def __init__(self, config: SurVAEConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        if config.dequantization == "variational":
            self.dequantizer = DenseDequantizer(
                data.event_shape,
                levels=data.levels or 0,
                steps=config.dequantizer_steps,
                width=config.width,
                depth=config.depth,
                growth=config.growth,
                num_context=config.context_width,
                context_depth=config.context_depth,
                context_growth=config.context_growth,
            )
            self.scaling = LevelScaling(data.levels or 0, config.logit_alpha)
        num_channels = 4 * data.event_shape[0]
        scales = [_steps(config, num_channels) for _ in range(config.scales)]
        scales[0].insert(0, Squeeze())
        splits: list[Surjection] = []
        for scale in scales[:-1]:
            if config.pooling == "max":
                splits.append(MaxPool())
            else:
                scale.append(Squeeze())
                splits.append(Slice(num_channels))
        scales[-1].append(ChannelGaussian(num_channels))
        self.flow = MultiScale([Composition(scale) for scale in scales], splits)
        self.to(memory_format=torch.channels_last)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Three values for each that goes on to the next scale, then the last scale's output."""
        channels, height, width = self.data.event_shape
        sizes = [(height >> scale, width >> scale) for scale in range(1, self.config.scales + 1)]
        lost = [(12 * channels, *size) for size in sizes[1:]]
        return (*lost, (4 * channels, *sizes[-1]))


def _steps(config: SurVAEConfig, num_channels: int) -> list[Bijection]:
    half = num_channels // 2
    parts: list[Bijection] = []
    for _ in range(config.steps):
        net = DenseNet(
            half,
            BoundedAffine.num_parameters * half,
            width=config.width,
            depth=config.depth,
            growth=config.growth,
        )
        parts.append(FullConv1x1(num_channels))
        parts.append(HalfCoupling(BoundedAffine(), net, swap=False))
    return parts
