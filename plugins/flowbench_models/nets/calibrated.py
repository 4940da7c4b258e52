"""Convolutions that a first batch calibrates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from flowbench_models.nets.convolution import convolve

Apply = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Convolves an input with a weight (C_out, C_in, height, width) and a bias."""

INIT_STD = 0.05
VARIANCE_FLOOR = 1e-8
"""Of weights, and of outputs at the first batch; released code of Flow++."""


class CalibratedConv2d(nn.Module):
    r"""Convolution that a first batch gives outputs of mean 0 and a wanted standard deviation.

    With weight normalisation the weight is :math:`g\,v / \lVert v \rVert`, g one number for each
    output channel, and calibrating changes g.

    Args:
        kernel_size: Odd, so that the output has the input's height and width; any, or height and
            width, where ``apply`` takes it.
        bias: Whether a bias is added.
        weight_norm: Whether weights are normalised.
        scale: Standard deviation after calibration; 0 starts the outputs at zero.
        apply: How it convolves; by default with zero padding and stride 1.

    References:
        Salimans and Kingma (2016), Weight Normalization, https://arxiv.org/abs/1602.07868,
        section 3.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        kernel_size: int | tuple[int, int] = 1,
        *,
        bias: bool = True,
        weight_norm: bool = False,
        scale: float = 1.0,
        apply: Apply = convolve,
    ) -> None:
        super().__init__()
        self.scale, self.apply_kernel = scale, apply
        size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        self.weight = nn.Parameter(INIT_STD * torch.randn(num_outputs, num_inputs, *size))
        norm = self.weight.detach().flatten(1).norm(dim=1)
        self.magnitude = nn.Parameter(norm) if weight_norm else None
        self.bias = nn.Parameter(torch.zeros(num_outputs)) if bias else None

    def kernel(self) -> Tensor:
        """The weight that convolves, shape (C_out, C_in, k, k)."""
        if self.magnitude is None:
            return self.weight
        return normalised(self.weight, self.magnitude)

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W), or as ``apply`` has it."""
        return self.apply_kernel(h, self.kernel(), self.bias)

    @torch.no_grad()
    def initialize(self, h: Tensor) -> Tensor:
        """Calibrates weight and bias by a first batch; returns the output."""
        out = self.apply_kernel(h, self.kernel(), None)
        variance, mean = torch.var_mean(out, dim=(0, 2, 3), correction=0)
        factor = self.scale * (variance + VARIANCE_FLOOR).rsqrt()
        if self.magnitude is None:
            self.weight.mul_(factor.view(-1, 1, 1, 1))
        else:
            self.magnitude.mul_(factor)
        if self.bias is not None:
            self.bias.copy_(-mean * factor)
        calibrated: Tensor = self(h)
        return calibrated


def run(layer: CalibratedConv2d, h: Tensor, calibrate: bool) -> Tensor:
    """Runs a convolution, calibrating it first where asked."""
    out: Tensor = layer.initialize(h) if calibrate else layer(h)
    return out


def normalised(direction: Tensor, magnitude: Tensor) -> Tensor:
    r"""Weights :math:`g\,v / \lVert v \rVert`, a norm for each output.

    Args:
        direction: v, shape (C_out, ...).
        magnitude: g, shape (C_out,).

    Returns:
        Shape (C_out, ...).
    """
    factor: Tensor = magnitude / direction.flatten(1).norm(dim=1)
    return direction * factor.view(-1, *(1,) * (direction.ndim - 1))
