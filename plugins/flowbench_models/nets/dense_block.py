"""The densely connected block of DenseFlow's networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.nets.plain_conv import PlainConv2d


class DenseBlock(nn.Module):
    r"""Layers that each see all before them, then a gated 1x1 convolution.

    A layer appends ``growth`` channels: convolution 1x1, ReLU, convolution 3x3, ReLU. The gate is
    :math:`a + b \odot \sigma(c)` with a, b and c from one convolution.

    Args:
        num_inputs: Input channels.
        num_outputs: Output channels.
        depth: Number of layers.
        growth: Channels that each layer appends.
        residual: Whether the input is added to the output; needs equal channels.

    References:
        Huang et al. (2017), Densely Connected Convolutional Networks,
        https://arxiv.org/abs/1608.06993; the form is that of the released code of Grcic et al.
        (2021), Densely connected normalizing flows, https://arxiv.org/abs/2106.04627.
    """

    def __init__(
        self, num_inputs: int, num_outputs: int, *, depth: int, growth: int, residual: bool = False
    ) -> None:
        super().__init__()
        widths = [num_inputs + growth * index for index in range(depth + 1)]
        self.layers = nn.ModuleList(
            nn.Sequential(
                PlainConv2d(width, width, rectify=True), PlainConv2d(width, growth, 3, rectify=True)
            )
            for width in widths[:-1]
        )
        self.gate = PlainConv2d(widths[-1], 3 * num_outputs)
        self.residual = residual

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        features = h
        for layer in self.layers:
            features = torch.cat((features, layer(features)), dim=1)
        offset, value, gate = self.gate(features).chunk(3, dim=1)
        out: Tensor = torch.addcmul(offset, value, F.sigmoid(gate))
        return h + out if self.residual else out
