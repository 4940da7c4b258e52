"""Convolutions that a first batch calibrates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowbench_models.nets.convolution import convolve

INIT_STD = 0.05
VARIANCE_FLOOR = 1e-8
"""Of weights, and of outputs at the first batch; released code of Flow++."""


class CalibratedConv2d(nn.Module):
    r"""Convolution that a first batch gives outputs of mean 0 and a wanted standard deviation.

    With weight normalisation the weight is :math:`g\,v / \lVert v \rVert`, g one number for each
    output channel, and calibrating changes g.

    Args:
        kernel_size: Odd; the output has the input's height and width.
        bias: Whether a bias is added.
        weight_norm: Whether weights are normalised.
        scale: Standard deviation after calibration; 0 starts the outputs at zero.

    References:
        Salimans and Kingma (2016), Weight Normalization, https://arxiv.org/abs/1602.07868,
        section 3.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        kernel_size: int = 1,
        *,
        bias: bool = True,
        weight_norm: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(
            INIT_STD * torch.randn(num_outputs, num_inputs, kernel_size, kernel_size)
        )
        norm = self.weight.detach().flatten(1).norm(dim=1)
        self.magnitude = nn.Parameter(norm) if weight_norm else None
        self.bias = nn.Parameter(torch.zeros(num_outputs)) if bias else None

    def kernel(self) -> Tensor:
        """The weight that convolves, shape (C_out, C_in, k, k)."""
        if self.magnitude is None:
            return self.weight
        return normalised(self.weight, self.magnitude)

    def forward(self, h: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W) to (B, num_outputs, H, W)."""
        return convolve(h, self.kernel(), self.bias)

    @torch.no_grad()
    def initialize(self, h: Tensor) -> Tensor:
        """Calibrates weight and bias by a first batch; returns the output."""
        out = convolve(h, self.kernel(), None)
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
