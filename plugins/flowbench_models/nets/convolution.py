"""Convolutions that keep height and width, and what networks of them share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conditioner(nn.Module):
    """A network from the elements that pass to the parameters of those that are transformed."""

    def forward(self, h: Tensor) -> Tensor:
        """Computes parameters.

        Args:
            h: Conditioning elements, shape (B, C, ...).

        Returns:
            Parameters, shape (B, num_parameters * C_out, ...).
        """
        raise NotImplementedError

    def initialize(self, h: Tensor) -> Tensor:
        """Sets whatever depends on data from a first batch; by default there is nothing to set.

        Args:
            h: Conditioning elements, shape (B, C, ...).

        Returns:
            What ``forward`` now returns.
        """
        parameters: Tensor = self(h)
        return parameters


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Leaves autocast, where it is on.

    Args:
        x: Tells the device.

    Returns:
        A context in which operations keep the precision of their arguments.
    """
    device_type = x.device.type
    if not torch.is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


def convolve(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolves with zero padding, so that height and width stay what they are.

    A 1x1 convolution is computed as the matrix product over channels that it is: on channels-last
    data that needs no copy.

    Args:
        h: Shape (B, C, H, W), fastest channels-last.
        weight: Shape (C_out, C, k, k), k odd.
        bias: Shape (C_out,); None adds nothing.

    Returns:
        Shape (B, C_out, H, W), channels-last.
    """
    kernel_size = weight.shape[-1]
    if kernel_size > 1:
        return F.conv2d(h, weight, bias, padding=kernel_size // 2)
    batch, channels, height, width = h.shape
    # A view of channels-last memory; elsewhere the one copy that there is.
    rows = h.permute(0, 2, 3, 1).reshape(-1, channels)  # (B * H * W, C)
    out = F.linear(rows, weight.flatten(1), bias)
    return out.view(batch, height, width, -1).permute(0, 3, 1, 2)


Kernel = tuple[Tensor, Tensor]
"""Weight and bias of a convolution."""

LOG_SCALE_FACTOR = 3.0
"""Speeds up the learned output scale of zero-initialised convolutions; released code of Glow."""


class ZeroConv2d(Conditioner):
    r"""Convolution that starts at zero and has a learned output scale, :math:`(w * h + b) e^{3s}`.

    Args:
        kernel_size: Odd; the output has the input's height and width.

    References:
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, section 3.3 (zero
        initialisation); the scale is that of the released code.
    """

    def __init__(self, num_inputs: int, num_outputs: int, kernel_size: int = 3) -> None:
        super().__init__()
        # Zero, so that a coupling starts as the identity, which lets deep flows train.
        self.weight = nn.Parameter(torch.zeros(num_outputs, num_inputs, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        self.log_scale = nn.Parameter(torch.zeros(num_outputs))

    @staticmethod
    def fold(layers: Sequence[ZeroConv2d]) -> list[Kernel]:
        """Weight and bias of several layers of one shape, their scales folded in together."""
        # On the weights rather than on the output, which is larger by batch and positions.
        log_scale = torch.stack([layer.log_scale for layer in layers])
        scale = (LOG_SCALE_FACTOR * log_scale).exp()
        weights = torch.stack([layer.weight for layer in layers]) * scale[..., None, None, None]
        biases = torch.stack([layer.bias for layer in layers]) * scale
        return list(zip(weights.unbind(), biases.unbind(), strict=True))

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        ((weight, bias),) = self.fold([self])
        return convolve(h, weight, bias)
