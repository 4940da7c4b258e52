"""Activation normalisation: a learned affine map of each channel, initialised from data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowbench_models.bijections.base import Bijection

STD_FLOOR = 1e-6
"""Added to the standard deviation before its logarithm, as in the released code of Glow."""


class ActNorm(Bijection):
    r"""Affine map of each channel, :math:`z = (x + b) \odot e^{s}`, with ladj = positions * sum(s).

    After data-dependent initialisation the first batch leaves with mean 0 and standard deviation 1
    in each channel; from then on b and s are parameters like any other.

    Args:
        num_channels: Size C of axis 1.

    Attributes:
        initialized: Whether b and s were set from data; a buffer, so a checkpoint carries it.

    References:
        Kingma and Dhariwal (2018), Glow: Generative Flow with Invertible 1x1 Convolutions,
        https://arxiv.org/abs/1807.03039, section 3.1.
    """

    initialized: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(num_channels))
        self.log_scale = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("initialized", torch.tensor(False))

    @staticmethod
    def as_affine(norms: Sequence[ActNorm]) -> tuple[Tensor, Tensor, Tensor]:
        """Several norms as ``x * scale + offset``, for folding into neighbouring linear maps.

        Args:
            norms: K norms of the same number of channels.

        Returns:
            log scale, scale and offset, each of shape (K, C).
        """
        log_scale = torch.stack([norm.log_scale for norm in norms])
        scale = log_scale.exp()
        return log_scale, scale, torch.stack([norm.shift for norm in norms]) * scale

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, ...) to latent; see `Bijection.forward`."""
        positions = x[0, 0].numel()
        ladj = (positions * self.log_scale.sum()).expand(x.shape[0])
        return (x + _as_channels(self.shift, x)) * _as_channels(self.log_scale.exp(), x), ladj

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        inverse_scale = (-self.log_scale).exp()
        return z * _as_channels(inverse_scale, z) - _as_channels(self.shift, z)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> Tensor:
        """Sets b and s so that this batch is normalised; a second call changes nothing."""
        if not self.initialized:
            axes = (0, *range(2, x.ndim))
            std, mean = torch.std_mean(x, dim=axes, correction=0)
            self.shift.copy_(-mean)
            self.log_scale.copy_(-(std + STD_FLOOR).log())
            self.initialized.fill_(True)
        z: Tensor = self(x)[0]
        return z


def _as_channels(values: Tensor, x: Tensor) -> Tensor:
    return values.view(1, -1, *(1,) * (x.ndim - 2))  # (1, C, 1, ...)
