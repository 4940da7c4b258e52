"""Multi-scale flows: after each scale a part of the data becomes a latent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from flowbench.api import Batch, Context, Latents
from flowbench_models.bijections.base import Bijection, Surjection
from flowbench_models.bijections.dequantization import DequantizedModel


class MultiScale(nn.Module):
    """Scales one after the other, with a surjection, such as `FactorOut`, between neighbours.

    Args:
        scales: One bijection for each scale.
        splits: What leaves after each scale but the last.

    Example:
        >>> from flowbench_models.bijections.channels import FactorOut, Squeeze
        >>> flow = MultiScale([Squeeze(), Squeeze()], [FactorOut()])
        >>> latents, ladj = flow(torch.randn(5, 1, 4, 4))
        >>> [tuple(z.shape) for z in latents]
        [(5, 2, 2, 2), (5, 8, 1, 1)]
    """

    def __init__(self, scales: Sequence[Bijection], splits: Sequence[Surjection]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(scales)
        self.splits = nn.ModuleList(splits)

    # Not strict: there is one split fewer than scales, and the last scale is apart.
    def _inner(self) -> list[tuple[Bijection, Surjection]]:
        return cast(
            "list[tuple[Bijection, Surjection]]", list(zip(self.scales, self.splits, strict=False))
        )

    def _last(self) -> Bijection:
        return cast(Bijection, self.scales[-1])

    def forward(self, x: Tensor) -> tuple[Latents, Tensor]:
        """Maps data to latents.

        Args:
            x: Data, shape (B, ...).

        Returns:
            One latent for each scale, and ladj of shape (B,), in nats.
        """
        latents = []
        ladj = x.new_zeros(x.shape[0])
        for scale, split in self._inner():
            x, scale_ladj = scale(x)
            x, latent, split_ladj = split(x)
            latents.append(latent)
            ladj = ladj + scale_ladj + split_ladj
        z, scale_ladj = self._last()(x)
        return (*latents, z), ladj + scale_ladj

    def inverse(self, latents: Latents) -> Tensor:
        """Maps latents to data.

        Args:
            latents: One for each scale.

        Returns:
            x, shape (B, ...).
        """
        x = self._last().inverse(latents[-1])
        for (scale, split), latent in zip(
            reversed(self._inner()), reversed(latents[:-1]), strict=True
        ):
            # What comes from the deeper scales is at hand by now, and a prior reads it.
            x = scale.inverse(split.inverse(x, latent))
        return x

    def inverse_with_ladj(self, latents: Latents) -> tuple[Tensor, Tensor]:
        """Maps latents to data, with the ladj that ``forward`` gives there, shape (B,)."""
        x, ladj = self._last().inverse_with_ladj(latents[-1])
        for (scale, split), latent in zip(
            reversed(self._inner()), reversed(latents[:-1]), strict=True
        ):
            x = split.inverse(x, latent)
            split_ladj = split(x)[2]
            x, scale_ladj = scale.inverse_with_ladj(x)
            ladj = ladj + split_ladj + scale_ladj
        return x, ladj

    def initialize(self, x: Tensor) -> None:
        """Initialises scale by scale from a first batch, shape (B, ...)."""
        for scale, split in self._inner():
            x = split.initialize(scale.initialize(x))
        self._last().initialize(x)

    def log_weight(self, latents: Latents) -> Tensor:
        """Log-density of the latents less that under a standard normal, shape (B,), in nats."""
        weight = latents[-1].new_zeros(latents[-1].shape[0])
        for (_, split), latent in zip(self._inner(), latents, strict=False):
            weight = weight + split.log_weight(latent)
        return weight

    def from_normal(self, noises: Latents) -> Latents:
        """Makes latents of standard normal noise of their shapes."""
        pairs = zip(self._inner(), noises, strict=False)
        return (*(split.from_normal(noise) for (_, split), noise in pairs), noises[-1])


class MultiScaleModel(DequantizedModel):
    """A flow whose latents are those of its scales.

    Attributes:
        flow: The flow, set by the subclass.
    """

    flow: MultiScale

    def initialize(self, batch: Batch, *, generator: torch.Generator) -> None:
        """Initialises layer by layer from a first batch."""
        # Only statistics are wanted; a graph through all layers would be kept for nothing.
        with torch.no_grad():
            self.flow.initialize(self.initial_values(batch.x, generator)[0])

    def encode(self, x: Tensor, noises: Latents) -> tuple[Latents, Tensor]:
        """Maps images in the flow's space to latents; see `DequantizedModel.encode`."""
        latents, ladj = self.flow(x)
        return latents, ladj

    def decode(self, latents: Latents) -> Tensor:
        """Maps latents to the flow's own space; see `DequantizedModel.decode`."""
        return self.flow.inverse(latents)

    def from_latent_with_ladj(
        self, latents: Latents, context: Context | None = None
    ) -> tuple[Tensor, Tensor]:
        """Maps latents to data, with ladj; see `InvertibleModel.from_latent_with_ladj`."""
        if self.dequantizer is not None:
            return super().from_latent_with_ladj(latents, context)
        return self.flow.inverse_with_ladj(latents)

    def base_log_prob(self, latents: Latents) -> Tensor:
        """Standard normal, but for what a surjection says of its latent."""
        return super().base_log_prob(latents) + self.flow.log_weight(latents)

    def sample_base(
        self,
        num: int,
        *,
        temperature: float,
        generator: torch.Generator | None,
        device: torch.device,
    ) -> Latents:
        """Draws latents; see `InvertibleModel.sample_base`."""
        noises = super().sample_base(
            num, temperature=temperature, generator=generator, device=device
        )
        return self.flow.from_normal(noises)
