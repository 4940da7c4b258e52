"""DDPM++: a score-based model along a differential equation that keeps the variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from flowbench.api import Batch, DatasetInfo, Preset, Step, WithInfo
from flowbench_models.nets.ddpmpp import DDPMpp
from pydantic import Field
from torch import Tensor

from flowbench_families.diffusion.config import PATCHES, TOY, DiffusionConfig, paper_training
from flowbench_families.diffusion.continuous import ContinuousModel
from flowbench_families.diffusion.denoising import beside, evenly, normal

BETA_MIN, BETA_MAX = 0.1, 20.0
"""How much of the variance noise replaces per unit of time, at its start and its end; the paper."""

FIRST_TIME = 1e-5
"""Of training and of likelihoods; before it there is all but no noise."""

FIRST_SAMPLED = 1e-3
"""Where samples take the last step, to no noise."""

TIME_SCALE = 999.0
"""What times are multiplied by for the network."""


class DDPMPPConfig(DiffusionConfig):
    """Configuration of DDPM++.

    Attributes:
        sampling_steps: Steps of samples, where nothing else is asked for.
    """

    called: ClassVar[str] = "ddpmpp"

    sampling_steps: int = Field(default=100, ge=1)

    presets: ClassVar[Mapping[str, Preset]] = {
        "digits": Preset(
            summary="a U-Net of two resolutions, for a minute on digits (8x8)",
            values={"width": 20},
            tuning_trials=4,
        ),
        "natural-patches": Preset(
            summary="a U-Net of three resolutions, for minutes on 32x32 images",
            values=PATCHES,
            tuning_trials=2,
        ),
        "toy": Preset(
            summary="a U-Net of 8 channels, for images of a few pixels",
            values={**TOY, "sampling_steps": 20},
        ),
        **{
            name: Preset(
                summary=f"{parameters} parameters (CIFAR-10); --budget 1300000steps",
                source="paper",
                values={
                    "width": 128,
                    "blocks": blocks,
                    "multipliers": (1, 2, 2, 2),
                    "attention": (2,),
                    "dropout": 0.1,
                    "sampling_steps": 1000,
                    "training": paper_training(
                        steps=1_300_000,
                        warmup_steps=5_000,
                        clip_norm=1.0,
                        augment=("horizontal_flip",),
                    ),
                },
            )
            for name, blocks, parameters in (
                ("cifar10", 4, "61,804,419"),
                ("cifar10-deep", 8, "106,632,579"),
            )
        },
    }


class DDPMPP(ContinuousModel):
    r"""DDPM++: the noise is predicted at all times of :math:`dz = -\frac12 \beta z\,dt + ...`.

    References:
        Song et al. (2021), Score-Based Generative Modeling through Stochastic Differential
        Equations, https://arxiv.org/abs/2011.13456, section 3.4 and appendix C. Departures: the
        likelihood is the bound of `ContinuousModel` on integer levels (the paper: that of the
        probability flow, of dequantized values); samples take ancestral steps (the paper: steps of
        the reversed equation, and a corrector).
    """

    config: DDPMPPConfig

    def __init__(self, config: DDPMPPConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.network = DDPMpp(
            data.event_shape[0],
            width=config.width,
            multipliers=config.multipliers,
            blocks=config.blocks,
            attention=config.attention,
            dropout=config.dropout,
        )

    def ends(self) -> tuple[Tensor, Tensor]:
        """About those of the times of training; see `ContinuousModel.ends`."""
        first, last = spread_at(torch.tensor([FIRST_TIME, 1.0], dtype=torch.float64)).tolist()
        spreads = next(self.parameters()).new_tensor([self.smallest(first), last])
        low, high = 2.0 * spreads.log()
        return low, high

    def path(self, steps: int | None) -> Sequence[float]:
        """Equal distances of time, and a last step to no noise."""
        num = steps or self.config.sampling_steps
        times = torch.linspace(1.0, FIRST_SAMPLED, num, dtype=torch.float64)
        return [*spread_at(times).tolist(), 0.0]

    def denoise(self, y: Tensor, place: Tensor) -> tuple[Tensor, None]:
        """The image without the noise that is predicted; see `DiffusionModel.denoise`."""
        spread = beside(place)
        z = y / (1.0 + spread.square()).sqrt()
        return y - spread * self.network(TIME_SCALE * time_at(place), z), None

    def loss(self, batch: Batch, step: Step) -> WithInfo:
        """Mean squared error of the noise, at times that are equally likely."""
        x = self.values(batch.x)
        time = FIRST_TIME + (1.0 - FIRST_TIME) * evenly(x, step.generator)
        spread = spread_at(time)
        noise = normal(x, step.generator)
        y = x + beside(spread) * noise
        predicted = (y - self.denoise(y, spread)[0]) / beside(spread)
        return (predicted - noise).square().mean()


def spread_at(time: Tensor) -> Tensor:
    r"""The spread at a time, :math:`s^2 = e^{\int \beta} - 1`.

    Example:
        >>> spread_at(torch.tensor([0.0, 1.0]))
        tensor([  0.0000, 152.1685])
    """
    return torch.expm1(BETA_MIN * time + 0.5 * (BETA_MAX - BETA_MIN) * time.square()).sqrt()


def time_at(spread: Tensor) -> Tensor:
    """The inverse of `spread_at`."""
    grown = torch.log1p(spread.square())
    slope = BETA_MAX - BETA_MIN
    # As a quotient: at early times the usual formula is a difference of equal numbers.
    return 2.0 * grown / (BETA_MIN + (BETA_MIN**2 + 2.0 * slope * grown).sqrt())
