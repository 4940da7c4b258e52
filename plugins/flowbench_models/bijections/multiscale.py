"""Multi-scale flows: after each scale half of the channels become a latent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from flowbench_models.bijections.base import Bijection, sum_event_dims
from flowbench_models.nets.conditioner import Conditioner

Latents = tuple[Tensor, ...]


class FactorOut(nn.Module):
    r"""Factors out the second half of the channels, :math:`x = (y, x_b)`, as a latent.

    With a prior network the latent is :math:`\epsilon = (x_b - \mu(y))\,e^{-s(y)}`, with
    ladj = -sum(s): standard normal if :math:`x_b \mid y \sim N(\mu(y), e^{2 s(y)})`. Without one
    it is :math:`x_b` itself.

    Args:
        prior: Maps y of shape (B, C/2, H, W) to means and log standard deviations, stacked along
            axis 1: (B, C, H, W).

    References:
        Dinh et al. (2017), Density estimation using Real NVP, https://arxiv.org/abs/1605.08803,
        section 3.6; conditional priors as in the released code of Glow.
    """

    def __init__(self, prior: Conditioner | None = None) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Splits data.

        Args:
            x: Shape (B, C, H, W), C even.

        Returns:
            The half that goes on and the latent, both (B, C/2, H, W), and ladj of shape (B,), nats.
        """
        kept, factored = x.chunk(2, dim=1)
        if self.prior is None:
            return kept, factored, x.new_zeros(x.shape[0])
        mean, log_std = self.prior(kept).to(x.dtype).chunk(2, dim=1)
        return kept, (factored - mean) * (-log_std).exp(), -sum_event_dims(log_std)

    def inverse(self, kept: Tensor, latent: Tensor) -> Tensor:
        """Puts data together again.

        Args:
            kept: The half that went on, shape (B, C/2, H, W).
            latent: The latent, shape (B, C/2, H, W).

        Returns:
            Shape (B, C, H, W).
        """
        if self.prior is not None:
            mean, log_std = self.prior(kept).to(kept.dtype).chunk(2, dim=1)
            latent = latent * log_std.exp() + mean
        return torch.cat((kept, latent), dim=1)

    def initialize(self, x: Tensor) -> Tensor:
        """Initialises the prior from a first batch; returns the half that goes on."""
        kept = x.chunk(2, dim=1)[0]
        if self.prior is not None:
            self.prior.initialize(kept)
        return kept


class MultiScale(nn.Module):
    """Scales one after the other, with a `FactorOut` between neighbours.

    Args:
        scales: One bijection for each scale.
        splits: One fewer.
    """

    def __init__(self, scales: Sequence[Bijection], splits: Sequence[FactorOut]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(scales)
        self.splits = nn.ModuleList(splits)

    def _inner(self) -> list[tuple[Bijection, FactorOut]]:
        return cast(
            "list[tuple[Bijection, FactorOut]]", list(zip(self.scales, self.splits, strict=False))
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
            x = scale.inverse(split.inverse(x, latent))
        return x

    def initialize(self, x: Tensor) -> None:
        """Initialises scale by scale from a first batch, shape (B, ...)."""
        for scale, split in self._inner():
            x = split.initialize(scale.initialize(x))
        self._last().initialize(x)
