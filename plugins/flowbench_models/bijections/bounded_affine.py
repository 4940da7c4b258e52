"""The affine law of DenseFlow, its scale bounded on both sides."""

from __future__ import annotations

from torch import Tensor

from flowbench_models.bijections.elementwise import ElementwiseMap


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
        log_scale, shift = self._log_scale_and_shift(parameters)
        return shift + log_scale.exp() * x, log_scale

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data."""
        log_scale, shift = self._log_scale_and_shift(parameters)
        return (z - shift) * (-log_scale).exp()

    def _log_scale_and_shift(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = parameters.chunk(2, dim=1)
        return 2.0 * (0.5 * raw).tanh(), shift
