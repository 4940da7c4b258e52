"""VDM: diffusion in continuous time, trained by its bound together with its noise schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from flowbench.api import DatasetInfo, Preset
from flowbench_models.nets.ddpmpp import DDPMpp
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from flowbench_families.diffusion.config import DiffusionConfig, paper_training, small_training
from flowbench_families.diffusion.continuous import ContinuousModel

NUM_STEPS = 1000
"""Of samples; the paper's."""

_STEPS = 10_000_000


def _paper(**changes: Any) -> dict[str, Any]:
    return {
        "blocks": 32,
        "dropout": 0.1,
        "features": (6, 7),
        "gamma_min": -13.3,
        "sampling_steps": NUM_STEPS,
        "training": paper_training(
            steps=_STEPS, warmup_steps=100, optimizer="adamw", betas=(0.9, 0.99), weight_decay=0.01
        ),
        **changes,
    }


class VDMConfig(DiffusionConfig):
    """Configuration of VDM, whose network keeps the resolution unless told otherwise.

    Attributes:
        features: Powers n of waves that the network sees beside values, of :math:`2^n` periods
            from one number to the next.
        schedule: Of noise: ``linear`` between ends that are learned, or ``fixed``.
        gamma_min: The smallest logarithm of noise's variance as multiple of the image's; learned
            from there on.
        gamma_max: The largest.
        sampling_steps: Steps of samples, where nothing else is asked for.
    """

    called: ClassVar[str] = "vdm"

    multipliers: tuple[PositiveInt, ...] = Field(default=(1,), min_length=1)
    features: tuple[int, ...] = (2, 3)
    schedule: Literal["linear", "fixed"] = "linear"
    gamma_min: float = -8.0
    gamma_max: float = 5.0
    sampling_steps: int = Field(default=100, ge=1)

    presets: ClassVar[Mapping[str, Preset]] = {
        "digits": Preset(
            summary="two blocks a side of 32 channels, for a minute on digits (8x8)",
            values={"width": 32, "blocks": 2, "training": {"lr": 8e-3}},
            tuning_trials=4,
        ),
        "natural-patches": Preset(
            summary="two blocks a side of 16 channels, for minutes on 32x32 images",
            values={
                "width": 16,
                "blocks": 2,
                "features": (6, 7),
                "gamma_min": -13.3,
                "training": small_training(batch_size=16, lr=4e-3, augment=("horizontal_flip",)),
            },
            tuning_trials=2,
        ),
        "toy": Preset(
            summary="8 channels, for images of a few pixels",
            values={"width": 8, "sampling_steps": 20},
        ),
        "cifar10": Preset(
            summary="30,578,181 parameters (CIFAR-10); --budget 10000000steps",
            source="paper",
            values=_paper(width=128),
        ),
        "imagenet32": Preset(
            summary="122,137,605 parameters (ImageNet 32x32); --budget 10000000steps",
            source="paper",
            values=_paper(width=256),
        ),
    }

    @model_validator(mode="after")
    def _noise_grows(self) -> VDMConfig:
        if self.gamma_min >= self.gamma_max:
            raise ValueError(
                f"gamma_min must be below gamma_max, got {self.gamma_min} and {self.gamma_max}"
            )
        return self


class VDM(ContinuousModel):
    r"""VDM: a network predicts the noise, given how much there is, and sees values as waves, too.

    References:
        Kingma et al. (2021), Variational Diffusion Models, https://arxiv.org/abs/2107.00630, with
        the details of the released code; its network has an input for a condition, which is 0.
        Departures: the schedule is learned at its ends alone, as in the released configurations
        (the paper's is a monotone network, between whose ends the bound does not change); times
        of a batch go by the golden ratio (released: by its size).
    """

    config: VDMConfig

    def __init__(self, config: VDMConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        low, width = config.gamma_min, config.gamma_max - config.gamma_min
        self.low, self.range = (
            nn.Parameter(torch.tensor(value), requires_grad=config.schedule == "linear")
            for value in (low, width)
        )
        channels = data.event_shape[0]
        self.network = DDPMpp(
            channels * (1 + 2 * len(config.features)),
            channels,
            width=config.width,
            multipliers=config.multipliers,
            blocks=config.blocks,
            attention=config.attention,
            dropout=config.dropout,
            rescale=False,
            biased=False,
            resample="convolution",
            num_told=config.width + 1,
        )

    @property
    def top(self) -> float:
        """Levels lie in the middle of equal parts from -1 to 1."""
        return 1.0 - 1.0 / (self.data.levels or 1)

    def ends(self) -> tuple[Tensor, Tensor]:
        """As learned; see `ContinuousModel.ends`."""
        return self.low, self.low + self.range.abs()

    def path(self, steps: int | None) -> Sequence[float]:
        """Equal distances of the logarithm; the last noise is left to rounding."""
        low, high = (float(end.detach()) for end in self.ends())
        num = steps or self.config.sampling_steps
        return [math.exp(0.5 * (high + (low - high) * i / num)) for i in range(num + 1)]

    def denoise(self, y: Tensor, place: Tensor) -> tuple[Tensor, None]:
        """The image without the noise that is predicted; see `DiffusionModel.denoise`."""
        spread = place.view(-1, 1, 1, 1)
        z = y / (1.0 + spread.square()).sqrt()
        waves = [z]
        for power in self.config.features:
            angle = (2.0 * math.pi * 2.0**power) * z
            waves += [angle.sin(), angle.cos()]
        low, high = self.config.gamma_min, self.config.gamma_max
        time = (2.0 * place.log() - low) / (high - low)
        told = torch.cat(
            (self.network.sinusoids(1000.0 * time), torch.zeros_like(time)[:, None]), 1
        )
        noise = z + self.network.given(self.network.time(told), torch.cat(waves, dim=1))
        return y - spread * noise, None
