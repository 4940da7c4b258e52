"""The affine law of DenseFlow, its scale bounded on both sides."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from flowbench_models.bijections.elementwise import ElementwiseMap, empty_parameters


class BoundedAffine(ElementwiseMap):
    r"""Affine law :math:`z = e^{s} x + t` with :math:`s = 2 \tanh(\hat s / 2)`, in (-2, 2).

    References:
        Grcic et al. (2021), Densely connected normalizing flows,
        https://arxiv.org/abs/2106.04627; the bound is that of the released code. There the raw
        scale is on even channels and the shift on odd ones, here they are halves: the same up to
        the order of a network's outputs.
    """

    num_parameters = 2

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ElementwiseMap.forward`."""
        z, log_scale = _BoundedAffine.apply(x, parameters)
        return z, log_scale

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data."""
        raw, shift = parameters.chunk(2, dim=1)
        return (z - shift) * (-_log_scale(raw)).exp()


def _log_scale(raw: Tensor) -> Tensor:
    return (0.5 * raw).tanh_() * 2.0


class _BoundedAffine(torch.autograd.Function):
    r"""`BoundedAffine` with a backward pass of a third of the operations that autograd would take.

    .. math:: g_x = e^s g_z, \qquad g_t = g_z, \qquad g_{\hat s} = (1 - s^2 / 4)(g_s + x\, g_x)

    with g for gradients.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = parameters.chunk(2, dim=1)
        log_scale = _log_scale(raw)
        scale = log_scale.exp()
        ctx.save_for_backward(x, log_scale, scale)
        return torch.addcmul(shift, scale, x), log_scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_log: Tensor) -> tuple[Tensor, Tensor]:
        x, log_scale, scale = ctx.saved_tensors
        grad = empty_parameters(log_scale)
        grad_raw, grad_shift = grad.chunk(2, dim=1)
        grad_shift.copy_(grad_z)
        grad_x = grad_z * scale
        of_log_scale = torch.addcmul(grad_log, grad_x, x)
        slope = of_log_scale * log_scale
        torch.addcmul(of_log_scale, slope, log_scale, value=-0.25, out=grad_raw)
        return grad_x, grad
