"""Glow of normflows, by its public API, as in the example of its documentation.

References:
    Stimper et al. (2023), normflows: A PyTorch Package for Normalizing Flows,
    https://arxiv.org/abs/2302.12014;
    Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import normflows as nf
import torch
from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    Ema,
    InvertibleModel,
    Latents,
    Logit,
    ModelConfig,
    Preprocessing,
    Preset,
    Scale,
    Training,
    UniformDequantization,
)
from pydantic import Field
from torch import Tensor

NOISE = UniformDequantization()
CENTRED = Preprocessing(noise=NOISE, bijections=(Scale(low=-0.5, high=0.5),))
LOGIT = Preprocessing(noise=NOISE, bijections=(Scale(), Logit(alpha=0.05)))


def _training(*, batch_size: int, lr: float) -> Training:
    """That of flowbench's own Glow, so that the two differ by their layers alone."""
    return Training(
        batch_size=batch_size,
        optimizer="adamw",
        lr=lr,
        weight_decay=0.1,
        clip_norm=10.0,
        average=Ema(decay=0.99),
    )


class GlowConfig(ModelConfig):
    """Configuration of the wrapped Glow.

    Attributes:
        levels: Scales; each halves height and width.
        steps: Glow blocks in each scale.
        width: Hidden channels of the coupling networks.
    """

    full_graph: ClassVar[bool] = False
    full_graph_reason: ClassVar[str] = "normflows' actnorm asks in every pass if it is initialised"

    levels: int = Field(default=2, ge=1)
    steps: int = Field(default=4, ge=1)
    width: int = Field(default=64, ge=1)
    preprocessing: Preprocessing = CENTRED
    training: Training = _training(batch_size=64, lr=3e-3)

    presets: ClassVar[Mapping[str, Preset]] = {
        "tiny": Preset(
            summary="two levels of four blocks; sizes and training of flowbench's glow:tiny",
            values={"preprocessing": LOGIT},
        ),
        "small": Preset(
            summary="three levels of four blocks; sizes and training of flowbench's glow:small",
            values={
                "levels": 3,
                "steps": 4,
                "width": 32,
                "training": _training(batch_size=16, lr=1e-3),
            },
        ),
    }

    @classmethod
    def default_preset(cls, data: DatasetInfo) -> str:
        """``tiny`` up to 16x16, else ``small``."""
        return "small" if min(data.event_shape[1:], default=0) > 16 else "tiny"

    def unsupported(self, data: DatasetInfo) -> str | None:
        """Images whose sides can be halved ``levels`` times."""
        if len(data.event_shape) != 3:
            return f"needs images (C, H, W), {data.name} has events of shape {data.event_shape}"
        factor = 2**self.levels
        if any(side % factor for side in data.event_shape[1:]):
            return f"needs height and width divisible by {factor}; set fewer levels"
        return None


class NormflowsGlow(InvertibleModel):
    """The multi-scale Glow of normflows with standard normal latents.

    Args:
        config: The configuration.
        data: Facts of the dataset.
    """

    config: GlowConfig

    def __init__(self, config: GlowConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.flow: Any = self._build(config, data)

    def _build(self, config: GlowConfig, data: DatasetInfo) -> Any:
        flows, merges, bases = [], [], []
        for index, shape in enumerate(self.latent_shapes()):
            channels = data.event_shape[0] * 2 ** (config.levels + 1 - index)
            blocks = [
                nf.flows.GlowBlock(channels, config.width, split_mode="channel", scale=True)
                for _ in range(config.steps)
            ]
            flows.append([*blocks, nf.flows.Squeeze()])
            if index:
                merges.append(nf.flows.Merge())
            bases.append(nf.distributions.DiagGaussian(shape, trainable=False))
        return nf.MultiscaleFlow(bases, flows, merges)

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        """Normalises every actnorm from a first batch."""
        del generator
        self.flow.inverse_and_log_det(batch.x)

    def latent_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One latent a scale, the coarsest first, as normflows orders them."""
        channels, height, width = self.data.event_shape
        levels = self.config.levels
        shapes = []
        for index in range(levels):
            factor = 2 ** (levels - index)
            kept = channels * factor * (2 if index == 0 else 1)
            shapes.append((kept, height // factor, width // factor))
        return tuple(shapes)

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps images (B, C, H, W) to latents."""
        latents, ladj = self.flow.inverse_and_log_det(x)
        return tuple(latents), cast(Tensor, ladj)

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps latents back to images."""
        x: Tensor = self.flow.forward_and_log_det(list(latents))[0]
        return x
