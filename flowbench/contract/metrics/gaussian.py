"""The model that metrics are tried on: every value an independent Gaussian, fitted exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowbench.api.config import ModelConfig
from flowbench.api.models import Batch, Context, InvertibleModel, Latents
from flowbench.api.specs import DatasetInfo


class Gaussian(InvertibleModel):
    r"""Elementwise affine flow, :math:`z = (x - m) e^{-s}`; ``initialize`` fits m and s.

    Args:
        data: Facts of the dataset.
    """

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.mean = nn.Parameter(torch.zeros(data.event_shape))
        self.log_std = nn.Parameter(torch.zeros(data.event_shape))

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        """Fits mean and scale to a batch."""
        del generator
        self.mean.copy_(batch.x.mean(dim=0))
        self.log_std.copy_(batch.x.std(dim=0).log())

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps data (B, *event_shape) to one latent of the same shape."""
        z = (x - self.mean) * torch.exp(-self.log_std)
        return (z,), -self.log_std.sum().expand(len(x))

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps the latent to data."""
        return latents[0] * torch.exp(self.log_std) + self.mean
