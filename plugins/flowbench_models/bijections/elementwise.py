"""Elementwise maps with parameters: what a coupling does to the elements that it transforms."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
        shift, scale = self._shift_and_scale(parameters)
        return (x + shift) * scale, scale.log()

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data."""
        shift, scale = self._shift_and_scale(parameters)
        return z / scale - shift

    def _shift_and_scale(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """The scale kept off 0, so that its log is finite: on a CPU 6 times faster than logsigmoid.

        What that costs is an absolute error of one rounding in the log of scales near 1.
        """
        shift, raw = parameters.chunk(2, dim=1)
        scale = (raw + self.offset).sigmoid()
        return shift, scale.clamp_min(torch.finfo(scale.dtype).tiny)


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
