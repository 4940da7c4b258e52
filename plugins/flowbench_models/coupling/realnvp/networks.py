"""The networks of RealNVP's image couplings: residual ones, and perceptrons over all pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.coupling.realnvp.config import RealNVPConfig
from flowbench_models.nets.convolution import Conditioner, convolve
from flowbench_models.nets.mlp import MLP

BATCH_NORM_EPS = 1e-4
"""Added to variances; released code of RealNVP."""

Norm = Literal["batch", "none"]


class WeightNormConv2d(nn.Module):
    r"""Convolution with weights :math:`g\, v / \lVert v \rVert`, one norm an output channel.

    Args:
        kernel_size: Odd; the output has the input's height and width.
        bias: Whether there is a bias; not before a batch norm.
        gain: Whether g is learned; otherwise it is 1, for a batch norm to undo.

    References:
        Salimans and Kingma (2016), Weight Normalization, https://arxiv.org/abs/1602.07868, eq. 2.
    """

    def __init__(
        self, num_inputs: int, num_outputs: int, kernel_size: int, *, bias: bool, gain: bool
    ) -> None:
        super().__init__()
        # By the inputs alone and not by the whole fan-in, as released; the norm takes the length
        # out again.
        bound = math.sqrt(2.0 / num_inputs)
        shape = (num_outputs, num_inputs, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(num_outputs)) if bias else None
        # A uniform weight has the expected norm bound * sqrt(fan-in / 3); the code has 12 for 3.
        magnitude = bound * math.sqrt(num_inputs * kernel_size**2 / 12.0)
        self.gain = nn.Parameter(torch.full((num_outputs,), magnitude)) if gain else None

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        scale = self.weight.square().sum(dim=(1, 2, 3)).rsqrt()
        if self.gain is not None:
            scale = self.gain * scale
        return convolve(h, self.weight * scale.view(-1, 1, 1, 1), self.bias)


class ChannelBias(nn.Module):
    """Adds a learned number to each channel: what is left of a batch norm without scale.

    Args:
        num_channels: Size C of axis 1.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        return h + self.bias.view(1, -1, 1, 1)


def normalisation(num_channels: int, norm: Norm) -> nn.Module:
    """Batch norm with a learned offset but without a learned scale, or no norm.

    Args:
        num_channels: Size C of axis 1.

    Returns:
        The layer.
    """
    if norm == "none":
        return nn.Identity()
    # Without a scale, as released: the weights behind the ReLU can take its place.
    batch_norm = nn.BatchNorm2d(num_channels, eps=BATCH_NORM_EPS, affine=False)
    return nn.Sequential(batch_norm, ChannelBias(num_channels))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each after a normalisation and ReLU, added to their input.

    Args:
        norm: Normalisation of hidden activations.
        dropout: Part of hidden channels that are dropped in training.
    """

    def __init__(self, width: int, *, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.norm_in = normalisation(width, norm)
        normalised = norm == "batch"
        self.conv_in = WeightNormConv2d(width, width, 3, bias=not normalised, gain=not normalised)
        self.norm_out = normalisation(width, norm)
        self.conv_out = WeightNormConv2d(width, width, 3, bias=True, gain=True)
        self.dropout = dropout

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, width, H, W) to the same shape."""
        inner = F.relu(self.norm_out(self.conv_in(F.relu(self.norm_in(h)))))
        if self.dropout:
            inner = F.dropout2d(inner, self.dropout, self.training)
        out: Tensor = h + self.conv_out(inner)
        return out


class ResNet(Conditioner):
    """Residual blocks whose states are all summed, through 1x1 convolutions, into the output.

    Args:
        width: Hidden channels.
        norm: Normalisation of hidden activations.
        dropout: Part of hidden channels that are dropped in training.

    References:
        Dinh et al. (2017), Density estimation using Real NVP, https://arxiv.org/abs/1605.08803,
        section 4.1; details as in the released code.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        *,
        width: int,
        blocks: int,
        norm: Norm,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.conv_in = WeightNormConv2d(num_inputs, width, 3, bias=True, gain=False)
        self.blocks = nn.ModuleList(
            ResidualBlock(width, norm=norm, dropout=dropout) for _ in range(blocks)
        )
        # From each block straight to the output, as released.
        self.skips = nn.ModuleList(
            WeightNormConv2d(width, width, 1, bias=True, gain=True) for _ in range(blocks + 1)
        )
        self.norm_out = normalisation(width, norm)
        self.conv_out = WeightNormConv2d(width, num_outputs, 1, bias=True, gain=True)

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        h = self.conv_in(h)
        total: Tensor = self.skips[0](h)
        for block, skip in zip(self.blocks, self.skips[1:], strict=True):
            h = block(h)
            total = total + skip(h)
        parameters: Tensor = self.conv_out(F.relu(self.norm_out(total)))
        return parameters


def concatenated_relu(h: Tensor) -> Tensor:
    """Rectifies a tensor and its negative side by side, so that no sign is lost.

    Args:
        h: Shape (B, C, ...).

    Returns:
        Shape (B, 2C, ...).
    """
    return F.relu(torch.cat((h, -h), dim=1))


class CouplingNet(Conditioner):
    """The network of an image coupling: both signs of its rectified input into a `ResNet`.

    Args:
        width: Hidden channels.
        mask: Appended to the input as a channel, shape (1, H, W); None appends nothing.
    """

    mask: Tensor | None

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        width: int,
        config: RealNVPConfig,
        mask: Tensor | None = None,
    ) -> None:
        super().__init__()
        norm: Literal["batch", "none"] = "batch" if config.norm == "batch" else "none"
        self.norm_in = normalisation(num_inputs, norm)
        self.register_buffer("mask", mask, persistent=False)
        self.net = ResNet(
            2 * num_inputs + (mask is not None),
            num_outputs,
            width=width,
            blocks=config.blocks,
            norm=norm,
            dropout=config.dropout,
        )

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        # Both signs: a plain ReLU would hide half of what passes from the network.
        h = concatenated_relu(self.norm_in(h))
        if self.mask is not None:
            # Zeros stand for what is transformed and are values, too; the mask tells them apart.
            h = torch.cat((h, self.mask.to(h.dtype).expand(h.shape[0], -1, -1, -1)), dim=1)
        parameters: Tensor = self.net(h)
        return parameters


class ImageMLP(Conditioner):
    """An `MLP` over all pixels of an image: for images so small that they have no far corners.

    Args:
        in_shape: Shape of the input (C_in, H, W).
        num_outputs: Output channels C_out.
        hidden: Width of each hidden layer.
        dropout: Part of hidden units that are dropped in training.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_outputs: int,
        hidden: Sequence[int],
        *,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, width = in_shape
        positions = height * width
        self.net = MLP(channels * positions, hidden, num_outputs * positions, dropout=dropout)

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, C_in, H, W) to (B, C_out, H, W)."""
        parameters: Tensor = self.net(h.flatten(1))
        return parameters.view(h.shape[0], -1, *h.shape[2:])
