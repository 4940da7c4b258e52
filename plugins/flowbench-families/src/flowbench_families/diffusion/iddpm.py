"""Improved DDPM: variances of steps are learned, and training may follow the bound itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from flowbench.api import Batch, DatasetInfo, Preset, Step, WithInfo, bits_per_dim
from flowbench_models.nets.unet import UNet
from pydantic import Field, model_validator
from torch import Tensor

from flowbench_families.diffusion.config import PATCHES, TOY, paper_training
from flowbench_families.diffusion.denoising import normal
from flowbench_families.diffusion.stepped import PAPER_STEPS, SteppedConfig, SteppedModel

FIRST_SHARE = 0.5
"""How often training by the bound draws its first term, which is about half of it."""


def _paper(*, steps: int, **changes: Any) -> dict[str, Any]:
    return {
        "num_steps": 4000,
        "width": 128,
        "blocks": 3,
        "heads": 4,
        "training": paper_training(steps=steps, lr=1e-4),
        **changes,
    }


_CIFAR10: Mapping[str, Any] = _paper(
    steps=500_000, multipliers=(1, 2, 2, 2), attention=(2, 4), dropout=0.3
)


class IDDPMConfig(SteppedConfig):
    """Configuration of improved DDPM.

    Attributes:
        heads: Attention heads, a divisor of ``width``.
        objective: What is minimised: the ``bound``, or the squared error of the noise, to which a
            ``hybrid`` adds a thousandth of the bound for the variances alone.
    """

    called: ClassVar[str] = "iddpm"

    heads: int = Field(default=4, ge=1)
    objective: Literal["bound", "hybrid"] = "bound"

    presets: ClassVar[Mapping[str, Preset]] = {
        "digits": Preset(
            summary="a U-Net of two resolutions, trained by the bound, for a minute on digits",
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
            summary="52,546,438 parameters, trained by the bound (CIFAR-10); --budget 500000steps",
            source="paper",
            values=_CIFAR10,
        ),
        "cifar10-hybrid": Preset(
            summary="52,546,438 parameters, trained by the hybrid objective (CIFAR-10); "
            "--budget 500000steps",
            source="paper",
            values={**_CIFAR10, "objective": "hybrid"},
        ),
        "imagenet64": Preset(
            summary="121,063,942 parameters, trained by the bound (ImageNet 64x64); "
            "--budget 1500000steps",
            source="paper",
            values=_paper(steps=1_500_000, multipliers=(1, 2, 3, 4), attention=(4, 8)),
        ),
    }

    @model_validator(mode="after")
    def _channels_fill_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(
                f"width must be a multiple of heads, got {self.width} and {self.heads}"
            )
        return self


class IDDPM(SteppedModel):
    """Improved DDPM: a network tells the variance of each step beside the noise.

    References:
        Nichol and Dhariwal (2021), Improved Denoising Diffusion Probabilistic Models,
        https://arxiv.org/abs/2102.09672, with the details of the released code. Departures: as of
        `DDPM`; training by the bound draws steps as often as their terms are large by the noise
        schedule (released: by their terms in the last ten batches).
    """

    config: IDDPMConfig

    def __init__(self, config: IDDPMConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        channels = data.event_shape[0]
        self.network = UNet(
            channels,
            2 * channels,
            width=config.width,
            multipliers=config.multipliers,
            blocks=config.blocks,
            attention=config.attention,
            heads=config.heads,
            dropout=config.dropout,
            scale_shift=True,
        )

    def predict(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The noise, and where variances lie from -1 to 1; see `SteppedModel.predict`."""
        noise, place = self.network(t, z).chunk(2, dim=1)
        return noise, place

    def fraction(self, told: Tensor | None) -> Tensor | float:
        """As the network tells."""
        return 0.5 if told is None else 0.5 * (told + 1.0)

    def loss(self, batch: Batch, step: Step) -> WithInfo:
        """The bound in bits per dimension, or the squared error beside a part of it."""
        x = self.values(batch.x)
        if self.config.objective == "bound":
            place, chance = self.drawn_places(x, step.generator, first=FIRST_SHARE)
            look = self.look(x, place, normal(x, step.generator))
            bound = self.term(batch.x, look, look.found) / chance + self.prior_term(x)
            return bits_per_dim(-bound, self.data.num_dims).mean()
        look = self.uniform_look(x, step.generator)
        error = (look.predicted - look.noise).square().mean()
        # Of the bound only the variances learn.
        term = self.term(batch.x, look, look.found.detach())
        part = self.config.num_steps / PAPER_STEPS
        return error + part * bits_per_dim(-term, self.data.num_dims).mean()
