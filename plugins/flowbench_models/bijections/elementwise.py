"""Elementwise maps with parameters: what a coupling does to the elements that it transforms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class ElementwiseMap(nn.Module):
    r"""An increasing map :math:`z_i = f(x_i; \theta_i)` of each element.

    Parameters come stacked along axis 1: those of one kind for all channels, then the next kind.

    Attributes:
        num_parameters: Parameters for each element.
    """

    num_parameters: int

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent.

        Args:
            x: Data, shape (B, C, ...).
            parameters: Shape (B, num_parameters * C, ...).

        Returns:
            z, and log dz/dx of each element in nats, both of the shape of x.
        """
        raise NotImplementedError

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data.

        Args:
            z: Latent, shape (B, C, ...).
            parameters: Shape (B, num_parameters * C, ...).

        Returns:
            x, of the shape of z.
        """
        raise NotImplementedError


class Shift(ElementwiseMap):
    r"""Additive coupling law, :math:`z = x + t`.

    References:
        Dinh et al. (2014), NICE: Non-linear Independent Components Estimation,
        https://arxiv.org/abs/1410.8516, section 3.2.
    """

    num_parameters = 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ElementwiseMap.forward`."""
        return x + parameters, torch.zeros_like(x)

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data."""
        return z - parameters


class SigmoidAffine(ElementwiseMap):
    r"""Affine law of Glow's released code, :math:`z = (x + t)\,\sigma(s + 2)`.

    The offset of 2 starts a zero-initialised coupling near the identity, and the sigmoid keeps the
    scale below 1, so that densities cannot blow up.

    References:
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, table 1 (which leaves
        the form of the scale open).
    """

    num_parameters = 2
    offset = 2.0

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ElementwiseMap.forward`."""
        z, log_scale = _SigmoidAffine.apply(x, parameters, self.offset)
        return z, log_scale

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data."""
        shift, raw = parameters.chunk(2, dim=1)
        return z / _scale(raw, self.offset) - shift


def _scale(raw: Tensor, offset: float) -> Tensor:
    """The scale kept off 0, so that its log is finite: on a CPU 6 times faster than logsigmoid.

    What that costs is an absolute error of one rounding in the log of scales near 1.
    """
    scale = (raw + offset).sigmoid_()
    return scale.clamp_min(torch.finfo(scale.dtype).tiny)


class _SigmoidAffine(torch.autograd.Function):
    r"""`SigmoidAffine` with a backward pass of a fourth of the operations that autograd would take.

    .. math:: g_x = g_t = a\, g_z, \qquad g_s = (1 - a)(g_l + z\, g_z)

    with g for gradients, the scale :math:`a = \sigma(s + 2)` and :math:`l = \log a`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, parameters: Tensor, offset: float) -> tuple[Tensor, Tensor]:
        shift, raw = parameters.chunk(2, dim=1)
        scale = _scale(raw, offset)
        z = (x + shift).mul_(scale)
        ctx.save_for_backward(z, scale)
        return z, scale.log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_log: Tensor) -> tuple[Tensor, Tensor, None]:
        z, scale = ctx.saved_tensors
        grad = empty_parameters(z)
        grad_shift, grad_raw = grad.chunk(2, dim=1)
        torch.mul(grad_z, scale, out=grad_shift)
        of_log_scale = torch.addcmul(grad_log, grad_z, z)
        torch.addcmul(of_log_scale, of_log_scale, scale, value=-1.0, out=grad_raw)
        return grad_shift, grad, None


def empty_parameters(x: Tensor) -> Tensor:
    """Room for two parameters for each element.

    Args:
        x: Shape (B, C, ...).

    Returns:
        Not initialised, shape (B, 2 * C, ...), channels-last if x is.
    """
    shape = (x.shape[0], 2 * x.shape[1], *x.shape[2:])
    like_images = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if like_images else torch.contiguous_format
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)


class TanhAffine(ElementwiseMap):
    r"""Affine law of RealNVP, :math:`z = (x + t)\,e^{g \tanh s}` with one learned g.

    Args:
        initial_gain: First value of g; 0 starts with a volume-preserving map.

    References:
        Dinh et al. (2017), Density estimation using Real NVP, https://arxiv.org/abs/1605.08803,
        section 4.1; shift before scale, and one g a coupling, as in the released code.
    """

    num_parameters = 2

    def __init__(self, initial_gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(initial_gain))

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ElementwiseMap.forward`."""
        shift, log_scale = self._shift_and_log_scale(parameters)
        return (x + shift) * log_scale.exp(), log_scale

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data."""
        shift, log_scale = self._shift_and_log_scale(parameters)
        return z * (-log_scale).exp() - shift

    def _shift_and_log_scale(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = parameters.chunk(2, dim=1)
        return shift, self.gain * raw.tanh()
