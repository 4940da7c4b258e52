"""Squeezing: space for channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from flowbench_models.bijections.base import Bijection

FACTOR = 2


class Squeeze(Bijection):
    """Turns each 2x2 block into four channels, (C, H, W) to (4C, H/2, W/2); its ladj is 0.

    The order is channel-wise: each channel becomes four neighbours, its block read row by row, as
    in `torch.nn.PixelUnshuffle`. The result is laid out channels-last, which convolutions prefer.

    References:
        Dinh et al. (2017), Density estimation using Real NVP,
        https://arxiv.org/abs/1605.08803, section 3.6.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, C, H, W) to latent; see `Bijection.forward`."""
        z = F.pixel_unshuffle(x, FACTOR).contiguous(memory_format=torch.channels_last)
        return z, x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data."""
        return F.pixel_shuffle(z, FACTOR)
