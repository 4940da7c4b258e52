"""Augmented normalizing flows: couplings between an image and noise of any size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from flowbench.api import Batch, DatasetInfo, Latents, Phase, Preset, Training
from flowbench_models.bijections.base import (
    Bijection,
    BoundedAffine,
    Composition,
    HalfCoupling,
)
from flowbench_models.bijections.channels import FACTOR, ActNorm, Squeeze
from flowbench_models.bijections.dequantization import LevelScaling, OneLatentModel
from flowbench_models.coupling.flowpp.config import FlowPPConfig
from flowbench_models.coupling.flowpp.model import ColumnDequantizer
from flowbench_models.defaults import (
    DequantizedConfig,
    halving_problem,
    is_large,
    small_training,
)
from flowbench_models.nets.gated import GatedNet

ASSUMPTIONS = (
    "written from the paper's description alone, as no code was to be had: no count is claimed",
    "networks are those of Flow++, gated convolutions without attention, of 96 channels and 8 "
    "blocks",
    "the noise has as many values as the image squeezed once, and five pairs of couplings",
    "scales of couplings are bounded to a factor of e^2, and actnorms stand before each pair",
    "levels are dequantized by Flow++'s dequantizer",
    "the training is that of Flow++: Adam at 3e-4 with 2000 steps of warm-up in 400 epochs",
)
PAPER: Mapping[str, Any] = {
    "noise_channels": 12,
    "squeezes": 1,
    "pairs": 5,
    "width": 96,
    "blocks": 8,
    "dequantizer_steps": 4,
    "dequantizer_width": 96,
    "dequantizer_blocks": 2,
    "context_width": 32,
    "logit_alpha": 0.05,
    "training": Training(
        batch_size=64,
        lr=3e-4,
        clip_norm=1.0,
        phases=(Phase(schedule="constant", warmup=2000 / (400 * 782)),),
        init_examples=128,
    ),
}


def _paper(data: str) -> Preset:
    return Preset(
        summary=f"five pairs of couplings, for {data}; --budget 400epochs",
        source="paper",
        values=PAPER,
        assumptions=ASSUMPTIONS,
    )


class ANFConfig(DequantizedConfig):
    """Configuration of augmented normalizing flows.

    Attributes:
        squeezes: How often an image is squeezed before the couplings.
        noise_channels: Channels of noise beside it.
        pairs: Pairs of couplings: of the noise given the image, of the image given the noise.
        width: Hidden channels of the couplings' networks.
        blocks: Gated convolutions of each.
        dequantizer_steps: Steps of the dequantizer.
        dequantizer_width: Hidden channels of its networks.
        dequantizer_blocks: Gated convolutions of each.
        context_width: Channels of what it sees of an image.
    """

    squeezes: int = Field(default=1, ge=1)
    noise_channels: int = Field(default=4, ge=1)
    pairs: int = Field(default=4, ge=1)
    width: int = Field(default=32, ge=4)
    blocks: int = Field(default=2, ge=1)
    dequantizer_steps: int = Field(default=1, ge=1)
    dequantizer_width: int = Field(default=8, ge=4)
    dequantizer_blocks: int = Field(default=1, ge=1)
    context_width: int = Field(default=8, ge=4)

    presets: ClassVar[Mapping[str, Preset]] = {
        "digits": Preset(
            summary="four pairs of couplings, for a minute on digits (8x8)",
            tuning_trials=4,
            values={"logit_alpha": 0.05, "training": small_training(batch_size=64, lr=6e-3)},
        ),
        "natural-patches": Preset(
            summary="four pairs of couplings at a quarter of the size, for minutes on 32x32 images",
            tuning_trials=2,
            values={
                "squeezes": 2,
                "noise_channels": 24,
                "dequantization": "uniform",
                "training": small_training(batch_size=16, lr=3e-3),
            },
        ),
        "cifar10": _paper("CIFAR-10"),
        "imagenet32": _paper("ImageNet 32x32"),
        "imagenet64": _paper("ImageNet 64x64"),
    }

    @model_validator(mode="after")
    def _heads_share_widths(self) -> Self:
        self.of_dequantizer()
        return self

    def of_dequantizer(self) -> FlowPPConfig:
        """The dequantizer's part, as Flow++ has it."""
        return FlowPPConfig(
            mixing="none",
            dequantizer_steps=self.dequantizer_steps,
            dequantizer_width=self.dequantizer_width,
            dequantizer_blocks=self.dequantizer_blocks,
            context_width=self.context_width,
        )

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``digits`` for images up to 16x16 or of odd sizes, else ``natural-patches``."""
        return "natural-patches" if is_large(data) else "digits"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Images of integer levels are squeezed."""
        name = f"anf with squeezes={self.squeezes}"
        problem = halving_problem(data, self.squeezes, model=name, remedy="set fewer squeezes")
        return problem or super().unsupported(data)


class ANF(OneLatentModel):
    r"""Augmented normalizing flow.

    Normal noise e stands beside a squeezed image x, and couplings transform one given the other:
    :math:`e' = \sigma(x) e + \mu(x)` as a VAE's encoder does, then :math:`x' = \sigma(e') x +
    \mu(e')` as its decoder does backwards, and so on: :math:`\log p(x) \ge E[\log p(x, e) - \log
    N(e)]`.

    Raises:
        ConfigError: The configuration does not fit the data.

    References:
        Huang et al. (2020), Augmented Normalizing Flows: Bridging the Gap Between Generative Models
        and Latent Variable Models, https://arxiv.org/abs/2002.07101, section 4. The presets say
        what of the architecture is an assumption.
    """

    config: ANFConfig

    def __init__(self, config: ANFConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        if config.dequantization == "variational":
            self.dequantizer = ColumnDequantizer(config.of_dequantizer(), data)
            self.scaling = LevelScaling(data.levels or 0, config.logit_alpha)
        channels, height, width = data.event_shape
        self._num_image = channels * FACTOR ** (2 * config.squeezes)
        self._size = (height // FACTOR**config.squeezes, width // FACTOR**config.squeezes)
        self.squeeze = Composition([Squeeze() for _ in range(config.squeezes)])
        parts: list[Bijection] = []
        for _ in range(config.pairs):
            parts.append(ActNorm(self._num_image + config.noise_channels))
            parts += [self._coupling(of_image) for of_image in (False, True)]
        self.flow = Composition([*parts, ActNorm(self._num_image + config.noise_channels)])
        self.to(memory_format=torch.channels_last)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent, of the squeezed image and the noise."""
        return ((self._num_image + self.config.noise_channels, *self._size),)

    def noise_shapes(self) -> tuple[tuple[int, ...], ...]:
        """That of the noise beside the squeezed image."""
        return ((self.config.noise_channels, *self._size),)

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        """Calibrates layer by layer from a first batch."""
        with torch.no_grad():
            x, noises = self.initial_values(batch.x, generator)
            self.flow.initialize(torch.cat((self.squeeze(x)[0], noises[0]), dim=1))

    def encode(self, x: Tensor, noises: Latents) -> tuple[Latents, Tensor]:
        """Maps images and noise to the latent; see `DequantizedModel.encode`."""
        z, ladj = self.flow(torch.cat((self.squeeze(x)[0], noises[0]), dim=1))
        return (z,), ladj

    def decode(self, latents: Latents) -> Tensor:
        """Maps the latent to the flow's own space, without the noise."""
        return self.squeeze.inverse(self.flow.inverse(latents[0])[:, : self._num_image])

    def _coupling(self, of_image: bool) -> HalfCoupling:
        """Transforms the image, which comes first, given the noise; or the other way round."""
        sizes = (self.config.noise_channels, self._num_image)
        passing, transformed = sizes if of_image else sizes[::-1]
        law = BoundedAffine()
        net = GatedNet(
            passing,
            law.num_parameters * transformed,
            self._size,
            width=self.config.width,
            blocks=self.config.blocks,
            mixing="none",
        )
        return HalfCoupling(law, net, swap=of_image, num_transformed=transformed)
