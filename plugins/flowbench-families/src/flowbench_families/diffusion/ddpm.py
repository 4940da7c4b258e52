"""DDPM: noise is predicted, and taken away in a thousand steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from flowbench.api import DatasetInfo, Preset
from flowbench_models.nets.ddpmpp import DDPMpp
from torch import Tensor

from flowbench_families.diffusion.config import PATCHES, TOY, paper_training
from flowbench_families.diffusion.stepped import SteppedConfig, SteppedModel

_STEPS = 800_000

_CIFAR10: Mapping[str, Any] = {
    "num_steps": 1000,
    "schedule": "linear",
    "variance": "large",
    "width": 128,
    "blocks": 2,
    "multipliers": (1, 2, 2, 2),
    "attention": (2,),
    "dropout": 0.1,
    "training": paper_training(
        steps=_STEPS, warmup_steps=5_000, clip_norm=1.0, augment=("horizontal_flip",)
    ),
}


class DDPMConfig(SteppedConfig):
    """Configuration of DDPM.

    Attributes:
        variance: Of a step backwards: the ``small`` one is right if the image is known, the
            ``large`` one if it is but noise.
        attention_back: Whether on the way back the ``last`` block of a resolution attends, or
            ``each``.
    """

    called: ClassVar[str] = "ddpm"

    variance: Literal["small", "large"] = "small"
    attention_back: Literal["last", "each"] = "last"

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
        "toy": Preset(
            summary="a U-Net of 8 channels, for images of a few pixels",
            values={**TOY, "num_steps": 20},
        ),
        "cifar10": Preset(
            summary="35,218,947 parameters, the PyTorch port of the released model (CIFAR-10); "
            "--budget 800000steps",
            source="paper",
            values=_CIFAR10,
        ),
        "cifar10-released": Preset(
            summary="35,746,307 parameters, the released model itself, where each block attends "
            "on the way back (CIFAR-10); --budget 800000steps",
            source="paper",
            values={**_CIFAR10, "attention_back": "each"},
        ),
    }


class DDPM(SteppedModel):
    """DDPM: a U-Net predicts the noise, and is trained by its squared error alone.

    References:
        Ho et al. (2020), Denoising Diffusion Probabilistic Models,
        https://arxiv.org/abs/2006.11239, with the details of the released code. Departures: the
        normal density of the last step is cut into bins exactly (released: by an approximation of
        its distribution function); of the bound a term is drawn for each image (released: all of
        them are computed); a training batch spreads its steps evenly (released: independently).
    """

    config: DDPMConfig

    def __init__(self, config: DDPMConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.log_large[0] = self.log_small[0]
        self.network = DDPMpp(
            data.event_shape[0],
            width=config.width,
            multipliers=config.multipliers,
            blocks=config.blocks,
            attention=config.attention,
            attention_back=config.attention_back,
            dropout=config.dropout,
            rescale=False,
            resample="convolution",
        )

    def predict(self, z: Tensor, t: Tensor) -> tuple[Tensor, None]:
        """The noise; see `SteppedModel.predict`."""
        return self.network(t, z), None

    def fraction(self, told: Tensor | None) -> float:
        """At one of both ends."""
        del told
        return 1.0 if self.config.variance == "large" else 0.0
