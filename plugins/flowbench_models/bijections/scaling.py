"""Learned scaling of each element."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowbench_models.bijections.base import Bijection


class DiagonalScaling(Bijection):
    r"""Scales each element of a vector, :math:`z_i = e^{s_i} x_i`, with ladj = sum(s).

    Args:
        num_dims: Number D of elements.

    References:
        Dinh et al. (2014), NICE: Non-linear Independent Components Estimation,
        https://arxiv.org/abs/1410.8516, section 3.3.
    """

    def __init__(self, num_dims: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(num_dims))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, D) to latent; see `Bijection.forward`."""
        return x * self.log_scale.exp(), self.log_scale.sum().expand(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        return z * (-self.log_scale).exp()
