"""A learned Gaussian for each channel, as a bijection to the standard normal."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowbench_models.bijections.base import Bijection


class ChannelGaussian(Bijection):
    r"""Standardises by a learned mean and scale, :math:`z = (x - \mu)\,e^{-s}`, one a channel.

    Args:
        num_channels: Size C of axis 1.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(num_channels))
        self.log_std = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        mean, log_std = self.mean.view(1, -1, 1, 1), self.log_std.view(1, -1, 1, 1)
        ladj = -x.shape[2] * x.shape[3] * self.log_std.sum()
        return (x - mean) * (-log_std).exp(), ladj.expand(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        return self.mean.view(1, -1, 1, 1) + z * self.log_std.view(1, -1, 1, 1).exp()
