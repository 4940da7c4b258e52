"""Linear maps by their LU decomposition."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.bijections.base import Composition, run
from flowbench_models.bijections.channels import InvertibleConv1x1, mix_channels
from flowbench_models.nets.convolution import full_precision

SMALLEST_DIAGONAL = 1e-3
"""Added to the diagonal of U; released code of NSF."""


class LULinear(InvertibleConv1x1):
    r"""Invertible linear map of channels, or of a vector: :math:`z = L U P x + b`.

    L is unit lower and U upper triangular, the diagonal of U is :math:`\mathrm{softplus}(s) +
    10^{-3}`, P a random permutation that stays as it was drawn. Only the triangles are stored: C^2
    + C numbers. L U starts as the identity.

    Args:
        num_channels: Size C of axis 1.

    Example:
        >>> linear = LULinear(3)
        >>> x = torch.randn(2, 3)
        >>> z, ladj = linear(x)
        >>> torch.allclose(z.sort().values, x.sort().values)  # a permutation, at the start
        True
        >>> torch.allclose(linear.inverse(z), x)
        True

    References:
        Durkan et al. (2019), Neural Spline Flows, https://arxiv.org/abs/1906.04032, section 3.2;
        Kingma and Dhariwal (2018), Glow, https://arxiv.org/abs/1807.03039, section 3.2.
    """

    source: Tensor
    packed: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        num_below = num_channels * (num_channels - 1) // 2
        start = math.log(math.expm1(1.0 - SMALLEST_DIAGONAL))  # the diagonal is then 1
        self.lower = nn.Parameter(torch.zeros(num_below))
        self.upper = nn.Parameter(torch.zeros(num_below))
        self.diagonal = nn.Parameter(torch.full((num_channels,), start))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.register_buffer("source", torch.randperm(num_channels))
        self.register_buffer("packed", _positions(num_channels), persistent=False)

    @classmethod
    def matrices(cls, convolutions: Sequence[LULinear]) -> tuple[Tensor, Tensor]:
        """L U P of each, and log |det|; see `InvertibleConv1x1.matrices`."""
        lower, upper, diagonal = cls._triangles(convolutions)
        # (M P) x = M (P x): column source[j] of the product is column j of M.
        target = torch.stack([convolution.source for convolution in convolutions]).argsort(dim=1)
        product = lower @ upper
        return product.gather(2, target[:, None, :].expand_as(product)), diagonal.log().sum(dim=1)

    def inverse_matrix(self) -> Tensor:
        """The inverse of L U P from two triangular solves, shape (C, C)."""
        lower, upper, _ = self._triangles([self])
        identity = torch.eye(len(self.source), dtype=lower.dtype, device=lower.device)
        inner = torch.linalg.solve_triangular(lower[0], identity, upper=False, unitriangular=True)
        inverse: Tensor = torch.linalg.solve_triangular(upper[0], inner, upper=True)
        return inverse.index_select(0, self.source.argsort())

    @staticmethod
    def _triangles(convolutions: Sequence[LULinear]) -> tuple[Tensor, Tensor, Tensor]:
        """L, U and the diagonal of U for all at once: (K, C, C) twice, and (K, C)."""
        num_channels, packed = len(convolutions[0].diagonal), convolutions[0].packed
        diagonals = torch.stack([convolution.diagonal for convolution in convolutions])
        diagonals = F.softplus(diagonals) + SMALLEST_DIAGONAL
        lowers = torch.stack([convolution.lower for convolution in convolutions])
        uppers = torch.stack([convolution.upper for convolution in convolutions])
        both = torch.cat((lowers, diagonals, uppers), dim=1)[:, packed]
        both = both.view(len(convolutions), num_channels, num_channels)
        identity = torch.eye(num_channels, dtype=both.dtype, device=both.device)
        return both.tril(-1) + identity, both.triu(), diagonals


class LinearSteps(Composition):
    """Bijections of vectors with LU maps among them, whose matrices are all made at once.

    Made together they take as many operations as one of them, of the many that a small flow has.

    Args:
        bijections: In the order from data to latent; LU maps are of one size.

    Example:
        >>> flow, x = LinearSteps([LULinear(3), LULinear(3)]), torch.randn(2, 3)
        >>> torch.allclose(flow.inverse(flow(x)[0]), x, atol=1e-6)
        True
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps data of shape (B, D) to latent; see `ConditionalBijection.forward`."""
        linears = [part for part in self.parts() if isinstance(part, LULinear)]
        with full_precision(x):
            matrices, log_abs_dets = LULinear.matrices(linears)
        ladj = log_abs_dets.sum().expand(len(x))
        waiting = iter(matrices.unbind())
        for part in self.parts():
            if isinstance(part, LULinear):
                with full_precision(x):
                    x = mix_channels(x, next(waiting), part.bias)
            else:
                x, term = run(part, x, context)
                ladj = ladj + term
        return x, ladj


def _positions(num_channels: int) -> Tensor:
    """Where each entry of a matrix is in: below the diagonal row by row, diagonal, above it."""
    num_below = num_channels * (num_channels - 1) // 2
    places = torch.empty(num_channels, num_channels, dtype=torch.int64, device="cpu")
    below, above = (
        torch.tril_indices(num_channels, num_channels, -1, device="cpu"),
        torch.triu_indices(num_channels, num_channels, 1, device="cpu"),
    )
    places[below[0], below[1]] = torch.arange(num_below, device="cpu")
    places.diagonal().copy_(torch.arange(num_below, num_below + num_channels, device="cpu"))
    places[above[0], above[1]] = torch.arange(
        num_below + num_channels, num_channels**2, device="cpu"
    )
    return places.flatten().to(torch.get_default_device())
