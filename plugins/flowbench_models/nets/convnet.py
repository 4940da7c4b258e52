"""The convolutional network of Glow's couplings, its normalisation folded into its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.bijections.actnorm import ActNorm
from flowbench_models.nets.conditioner import Conditioner
from flowbench_models.nets.convolution import convolve

Kernel = tuple[Tensor, Tensor]
"""Weight and bias of a convolution."""

INIT_STD = 0.05
"""Of hidden convolutions; released code of Glow."""
LOG_SCALE_FACTOR = 3.0
"""Speeds up the learned output scale of zero-initialised convolutions; released code of Glow."""


class ActNormConv2d(nn.Module):
    r"""Convolution without bias, then `ActNorm`, computed as one convolution, then ReLU.

    As :math:`(w * h + b) e^{s} = (e^{s} w) * h + e^{s} b`, normalising costs a multiplication of
    the weights instead of one of the (much larger) activations, forward and backward.

    Args:
        num_inputs: Input channels.
        num_outputs: Output channels.
        kernel_size: Odd; the output has the input's height and width.
    """

    def __init__(self, num_inputs: int, num_outputs: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            INIT_STD * torch.randn(num_outputs, num_inputs, kernel_size, kernel_size)
        )
        self.norm = ActNorm(num_outputs)

    @staticmethod
    def fold(layers: Sequence[ActNormConv2d]) -> list[Kernel]:
        """Weight and bias of several layers of one shape, their norms folded in together."""
        _, scale, offset = ActNorm.as_affine([layer.norm for layer in layers])
        weights = torch.stack([layer.weight for layer in layers]) * scale[..., None, None, None]
        return list(zip(weights.unbind(), offset.unbind(), strict=True))

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        ((weight, bias),) = self.fold([self])
        return convolve(h, weight, bias, rectify=True)

    def initialize(self, h: Tensor) -> Tensor:
        """Sets the normalisation from a first batch; returns the rectified output."""
        return self.norm.initialize(convolve(h, self.weight, None)).relu()


class ZeroConv2d(Conditioner):
    r"""Convolution that starts at zero and has a learned output scale, :math:`(w * h + b) e^{3s}`.

    Args:
        num_inputs: Input channels.
        num_outputs: Output channels.
        kernel_size: Odd; the output has the input's height and width.

    References:
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, section 3.3 (zero
        initialisation); the scale is that of the released code.
    """

    def __init__(self, num_inputs: int, num_outputs: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_outputs, num_inputs, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(num_outputs))
        self.log_scale = nn.Parameter(torch.zeros(num_outputs))

    @staticmethod
    def fold(layers: Sequence[ZeroConv2d]) -> list[Kernel]:
        """Weight and bias of several layers of one shape, their scales folded in together."""
        log_scale = torch.stack([layer.log_scale for layer in layers])
        scale = (LOG_SCALE_FACTOR * log_scale).exp()
        weights = torch.stack([layer.weight for layer in layers]) * scale[..., None, None, None]
        biases = torch.stack([layer.bias for layer in layers]) * scale
        return list(zip(weights.unbind(), biases.unbind(), strict=True))

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        ((weight, bias),) = self.fold([self])
        return convolve(h, weight, bias)


class GlowConvNet(Conditioner):
    """Normalised hidden convolutions with ReLU, then a zero-initialised one.

    Args:
        num_inputs: Input channels.
        num_outputs: Output channels.
        width: Hidden channels.
        hidden_kernels: Kernel size of each hidden convolution; (3, 1) in Glow.
        output_kernel: Kernel size of the last convolution; 3 in Glow.
        dropout: Part of hidden channels that are dropped in training.

    References:
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, section B.1.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        *,
        width: int,
        hidden_kernels: Sequence[int] = (3, 1),
        output_kernel: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        inputs = (num_inputs, *(width for _ in hidden_kernels))
        self.hidden = nn.ModuleList(
            ActNormConv2d(before, width, kernel)
            for before, kernel in zip(inputs, hidden_kernels, strict=False)
        )
        self.output = ZeroConv2d(inputs[-1], num_outputs, output_kernel)
        self.dropout = dropout

    @staticmethod
    def fold(nets: Sequence[GlowConvNet]) -> list[list[Kernel]]:
        """The convolutions that several networks of one shape amount to.

        Folding them together takes as many operations as folding one, which counts where networks
        are small: there dispatching operations takes longer than computing them.

        Args:
            nets: K networks.

        Returns:
            For each network weight and bias of its convolutions, in order.
        """
        hidden = zip(*(net.hidden_layers() for net in nets), strict=True)
        layers = [ActNormConv2d.fold(same_depth) for same_depth in hidden]
        layers.append(ZeroConv2d.fold([net.output for net in nets]))
        return [list(kernels) for kernels in zip(*layers, strict=True)]

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        return self.run(self.fold([self])[0], h)

    def run(self, kernels: Sequence[Kernel], h: Tensor) -> Tensor:
        """As ``forward``, with convolutions that were folded before.

        Args:
            kernels: This network's part of ``fold``.
            h: Shape (B, num_inputs, H, W).

        Returns:
            Parameters, shape (B, num_outputs, H, W).
        """
        for weight, bias in kernels[:-1]:
            h = self._drop(convolve(h, weight, bias, rectify=True))
        weight, bias = kernels[-1]
        return convolve(h, weight, bias)

    def initialize(self, h: Tensor) -> Tensor:
        """Normalises layer by layer from a first batch; returns the parameters."""
        for layer in self.hidden_layers():
            h = layer.initialize(h)
        parameters: Tensor = self.output(h)
        return parameters

    def hidden_layers(self) -> list[ActNormConv2d]:
        """The hidden layers, in order."""
        return cast("list[ActNormConv2d]", list(self.hidden))

    def _drop(self, h: Tensor) -> Tensor:
        return F.dropout2d(h, self.dropout, self.training) if self.dropout else h
