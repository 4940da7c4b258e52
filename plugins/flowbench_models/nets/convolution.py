"""Convolutions that keep height and width."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from flowbench_models.nets.onednn import linear


def convolve(h: Tensor, weight: Tensor, bias: Tensor | None, *, rectify: bool = False) -> Tensor:
    """Convolves with zero padding, so that height and width stay what they are.

    A 1x1 convolution is a matrix product over channels. On channels-last data it needs no copy, and
    as such is faster on a CPU than as a convolution, small ones two to three times.

    Args:
        h: Shape (B, C, H, W), fastest channels-last.
        weight: Shape (C_out, C, k, k), k odd.
        bias: Shape (C_out,); None adds nothing.
        rectify: Whether the result goes through a ReLU; here, because only here it is known to be
            no view, which autograd would copy on writing in place.

    Returns:
        Shape (B, C_out, H, W), channels-last.
    """
    kernel_size = weight.shape[-1]
    if kernel_size > 1:
        out = F.conv2d(h, weight, bias, padding=kernel_size // 2)
        return out.relu_() if rectify else out
    batch, channels, height, width = h.shape
    rows = h.permute(0, 2, 3, 1).reshape(-1, channels)  # (B * H * W, C)
    out = linear(rows, weight.flatten(1), bias)
    out = out.relu_() if rectify else out
    return out.view(batch, height, width, -1).permute(0, 3, 1, 2)
