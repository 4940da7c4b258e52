"""VFlow: Flow++ on images with channels of learned noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from flowbench.api import Batch, DatasetInfo, Ema, Latents, Phase, Preset, Training
from flowbench_models.bijections.base import sum_event_dims
from flowbench_models.bijections.dequantization import LevelScaling, OneLatentModel
from flowbench_models.coupling.flowpp.config import (
    CIFAR10_STEPS_PER_EPOCH,
    EPOCHS,
    EPOCHS_UNKNOWN,
    PAPER_NETWORKS,
    SHIFT_FIRST,
    SMALL_PRESETS,
    FlowPPConfig,
)
from flowbench_models.coupling.flowpp.model import ColumnDequantizer, ColumnNoise, stages
from flowbench_models.defaults import small_training

STEPS = EPOCHS * CIFAR10_STEPS_PER_EPOCH
CONSTANT_STEPS, FALLING_STEPS = 50_000, 138_629
"""At the peak rate, and until it has fallen to a quarter by a factor of 0.99999 a step."""

CIFAR10 = Training(
    batch_size=64,
    lr=1.2e-3,
    clip_norm=1.0,
    average=Ema(decay=0.999),
    phases=(
        Phase(share=CONSTANT_STEPS / STEPS, schedule="constant", warmup=2000 / CONSTANT_STEPS),
        Phase(share=FALLING_STEPS / STEPS, schedule="exponential", warmup=0.0, final_lr_ratio=0.25),
        Phase(
            share=(STEPS - CONSTANT_STEPS - FALLING_STEPS) / STEPS,
            lr=3e-4,
            schedule="constant",
            warmup=0.0,
        ),
    ),
    init_examples=64,
)
PUBLISHED = (
    "37.8 M parameters are published, which no configuration of the released code has; one, two "
    "and three blocks of the noise's networks give 37,650,304, 38,675,200 and 39,700,096"
)


def _cifar10(summary: str, posterior_blocks: int) -> Preset:
    values: Mapping[str, Any] = {
        **PAPER_NETWORKS,
        "splits": ("columns", "channels", "columns", "channels"),
        "steps": (2, 2, 2, 3),
        "squeezes": (0, 0, 1, 0),
        "extra_channels": 3,
        "posterior_steps": 4,
        "posterior_width": 96,
        "posterior_blocks": posterior_blocks,
        "training": CIFAR10,
    }
    return Preset(
        summary=summary,
        source="paper",
        values=values,
        assumptions=(SHIFT_FIRST, EPOCHS_UNKNOWN, PUBLISHED),
    )


class VFlowConfig(FlowPPConfig):
    """Configuration of VFlow: that of Flow++, and of the noise beside images.

    Attributes:
        extra_channels: Channels of noise.
        posterior_steps: Steps of the flow that makes it, between even and odd columns.
        posterior_width: Hidden channels of that flow's networks.
        posterior_blocks: Blocks of each of them.
    """

    extra_channels: int = Field(default=1, ge=1)
    posterior_steps: int = Field(default=1, ge=1)
    posterior_width: int = Field(default=8, ge=4)
    posterior_blocks: int = Field(default=1, ge=1)

    presets: ClassVar[Mapping[str, Preset]] = {
        "digits": Preset(
            summary="four couplings of two channels, for a minute on digits (8x8)",
            tuning_trials=4,
            values={
                **SMALL_PRESETS["digits"].values,
                "training": small_training(batch_size=64, lr=3e-3),
            },
        ),
        "natural-patches": Preset(
            summary="nine couplings without attention, for minutes on 32x32 images",
            tuning_trials=2,
            values={
                "splits": ("columns", "channels", "channels"),
                "steps": (2, 4, 3),
                "squeezes": (0, 1, 1),
                "mixing": "none",
                "width": 16,
                "dequantization": "uniform",
                "training": small_training(batch_size=16, lr=3e-3),
            },
        ),
        "cifar10": _cifar10("39,700,096 parameters, the released CIFAR-10 model", 3),
        "two-blocks": _cifar10("38,675,200 parameters, with smaller networks of noise", 2),
        "one-block": _cifar10(
            "37,650,304 parameters, the nearest to the published 37.8 M (38 M in DenseFlow's "
            "Table 2)",
            1,
        ),
    }

    def num_channels(self, data: DatasetInfo) -> int:
        """Channels that enter the flow: those of an image and of the noise."""
        return data.event_shape[0] + self.extra_channels


class VFlow(OneLatentModel):
    r"""VFlow.

    Channels of noise :math:`e \sim q(e \mid x)` stand beside an image, and Flow++ maps both:
    :math:`\log p(x) \ge E[\log p(x, e) - \log q(e \mid x)]`. A flow of the same kind makes the
    noise, as it does in dequantizing, between 0 and 1.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Chen et al. (2020), VFlow: More Expressive Generative Flows with Variational Data
        Augmentation, https://arxiv.org/abs/2002.09741, with the details of the released code, and
        the departures of Flow++.
    """

    config: VFlowConfig

    def __init__(self, config: VFlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        channels, height, width = data.event_shape
        if config.dequantization == "variational":
            self.dequantizer = ColumnDequantizer(config, data)
            self.scaling = LevelScaling(data.levels or 0, config.logit_alpha)
        self.posterior = ColumnNoise(
            config,
            data.event_shape,
            config.extra_channels,
            steps=config.posterior_steps,
            width=config.posterior_width,
            blocks=config.posterior_blocks,
            mixing=config.mixing,
        )
        shape = (channels + config.extra_channels, height, width)
        self.flow, self._latent_shape = stages(config, shape)
        self.to(memory_format=torch.channels_last)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent, of the last stage's shape."""
        return (self._latent_shape,)

    def noise_shapes(self) -> tuple[tuple[int, ...], ...]:
        """That of the normal noise of which the channels of noise are made."""
        return ((self.config.extra_channels, *self.data.event_shape[1:]),)

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        """Calibrates layer by layer from a first batch."""
        with torch.no_grad():
            x, noises = self.initial_values(batch.x, generator)
            self.posterior.initialize(x, noises[0])
            self.flow.initialize(self._augmented(x, noises[0])[0])

    def encode(self, x: Tensor, noises: Latents) -> tuple[Latents, Tensor]:
        """Maps images and noise to the latent; see `DequantizedModel.encode`."""
        augmented, ladj = self._augmented(x, noises[0])
        z, term = self.flow(augmented)
        return (z,), ladj + term

    def decode(self, latents: Latents) -> Tensor:
        """Maps the latent to the flow's own space, without the channels of noise."""
        return self.flow.inverse(latents[0])[:, : self.data.event_shape[0]]

    def _augmented(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Images with their channels of noise, and ladj of these."""
        logits, ladj = self.posterior(x, noise)
        slope = nn.functional.logsigmoid(logits) + nn.functional.logsigmoid(-logits)
        return torch.cat((x, logits.sigmoid()), dim=1), ladj + sum_event_dims(slope)
