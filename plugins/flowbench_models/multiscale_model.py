"""Models that are one multi-scale flow and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

from flowbench.api import Batch, Context, InvertibleModel, Latents
from flowbench_models.bijections import MultiScale


class MultiScaleModel(InvertibleModel):
    """A flow whose latents are those of its scales.

    Attributes:
        flow: The flow, set by the subclass.
    """

    flow: MultiScale

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        """Initialises layer by layer from a first batch."""
        del generator
        with torch.no_grad():
            self.flow.initialize(batch.x)

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        """Maps data (B, *event_shape) to latents; see `InvertibleModel.to_latent`."""
        latents, ladj = self.flow(x)
        return latents, ladj

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        """Maps latents to data (B, *event_shape)."""
        return self.flow.inverse(latents)
