"""Convolutions that keep height and width, dense blocks, and what networks of them share."""

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


class ContextualConditioner(Conditioner):
    """A network that may see a context beside the elements that pass."""

    def forward(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        """Computes parameters at a context; see `Conditioner.forward`."""
        raise NotImplementedError

    def initialize(self, h: Tensor, context: Tensor | None = None) -> Tensor:
        """Sets whatever depends on data from a first batch; by default there is nothing to set."""
        parameters: Tensor = self(h, context)
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


class PlainConv2d(nn.Conv2d):
    """Convolution with zero padding, initialised as `torch.nn.Conv2d` does it.

    Args:
        kernel_size: Odd; the output has the input's height and width.
        rectify: Whether a ReLU follows.
        zero: Whether weight and bias start at zero, so that a coupling starts as identity.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        kernel_size: int = 1,
        *,
        bias: bool = True,
        rectify: bool = False,
        zero: bool = False,
    ) -> None:
        super().__init__(num_inputs, num_outputs, kernel_size, padding=kernel_size // 2, bias=bias)
        self.rectify = rectify
        if zero:
            for parameter in self.parameters():
                nn.init.zeros_(parameter)

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        out = convolve(input, self.weight, self.bias)
        return out.relu() if self.rectify else out


class DenseBlock(nn.Module):
    r"""Layers that each see all before them, then a gated 1x1 convolution.

    A layer appends ``growth`` channels: convolution 1x1, ReLU, convolution 3x3, ReLU. The gate is
    :math:`a + b \odot \sigma(c)` with a, b and c from one convolution.

    Args:
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
        # One kernel for product and sum.
        out: Tensor = torch.addcmul(offset, value, F.sigmoid(gate))
        return h + out if self.residual else out


def dense_layers(
    num_inputs: int, num_outputs: int, *, width: int, depth: int, growth: int
) -> nn.Sequential:
    """A residual dense block between two 1x1 convolutions, the last one zero-initialised.

    Args:
        width: Channels of the block.
        depth: Layers of the block.
        growth: Channels that each of them appends.

    Returns:
        The three layers.
    """
    return nn.Sequential(
        PlainConv2d(num_inputs, width),
        DenseBlock(width, width, depth=depth, growth=growth, residual=True),
        PlainConv2d(width, num_outputs, zero=True),
    )


class DenseNet(Conditioner):
    """A residual dense block between two 1x1 convolutions, as a network of couplings.

    Args:
        width: Channels of the block.
        depth: Layers of the block.
        growth: Channels that each of them appends.
    """

    def __init__(
        self, num_inputs: int, num_outputs: int, *, width: int, depth: int, growth: int
    ) -> None:
        super().__init__()
        self.layers = dense_layers(num_inputs, num_outputs, width=width, depth=depth, growth=growth)

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        parameters: Tensor = self.layers(h)
        return parameters
