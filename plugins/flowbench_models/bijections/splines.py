"""Monotonic rational-quadratic splines, a law for couplings and autoregressive bijections alike."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from flowbench_models.bijections.base import ElementwiseMap

SMALLEST_BIN = 1e-3
"""Smallest width and height of a bin, as a part of the whole; released code of NSF."""

SMALLEST_DERIVATIVE = 1e-3
"""Smallest derivative at a knot; released code of NSF."""


class RationalQuadraticSpline(ElementwiseMap):
    r"""Increasing spline of K rational-quadratic pieces on [-B, B], the identity outside.

    With :math:`s = h/w` the slope of a bin, :math:`d_0, d_1` the derivatives at its ends and
    :math:`q = (x - x_k)/w`:

    .. math:: z = y_k + h \frac{s q^2 + d_0 q(1-q)}{s + (d_0 + d_1 - 2s)\, q(1-q)}

    Parameters of an element: K raw widths and K raw heights, of which softmaxes make bins, and
    K - 1 raw derivatives at inner knots. At the two ends the derivative is 1, that of the tails.

    Args:
        bins: Number K of bins.
        bound: Half-width B of the interval, above 0.
        width: Hidden units of the network that gives the parameters; raw widths and heights are
            divided by its square root, as in the released code. 1 leaves them as they are.

    Example:
        >>> law = RationalQuadraticSpline(bins=4, bound=3.0)
        >>> z, log_derivative = law(torch.tensor([[0.5, 7.0]]), torch.zeros(1, 11 * 2))
        >>> z  # raw zeros make bins of one size, but derivatives of ln 2 at the knots
        tensor([[0.4607, 7.0000]])
        >>> law.inverse(z, torch.zeros(1, 11 * 2))
        tensor([[0.5000, 7.0000]])

    References:
        Durkan et al. (2019), Neural Spline Flows, https://arxiv.org/abs/1906.04032, section 3.1
        and appendix A; based on Gregory and Delbourgo (1982).
    """

    def __init__(self, bins: int, bound: float, width: int = 1) -> None:
        super().__init__()
        self.bins, self.bound = bins, bound
        self.num_parameters = 3 * bins - 1
        self.softmax_scale = 1.0 / math.sqrt(width)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent; see `ElementwiseMap.forward`."""
        is_inside = x.abs() <= self.bound
        inside = torch.where(is_inside, x, 0.0)  # a value whose gradient is finite for all others
        piece = self._piece(inside, parameters, of_latents=False)
        q = (inside - piece.x) / piece.width
        # Numerator, denominator and derivative are Bernstein polynomials: sums of what is positive.
        lower, upper = piece.left.lerp(piece.slope, q), piece.slope.lerp(piece.right, q)
        denominator = upper.lerp(lower, q)
        z = piece.z + piece.height * q * lower / denominator
        derivative = (piece.slope / denominator).square() * lower.lerp(upper, q)
        return torch.where(is_inside, z, x), torch.where(is_inside, derivative, 1.0).log()

    def inverse(self, z: Tensor, parameters: Tensor) -> Tensor:
        """Maps latent to data, by the root of a quadratic."""
        is_inside = z.abs() <= self.bound
        inside = torch.where(is_inside, z, 0.0)
        piece = self._piece(inside, parameters, of_latents=True)
        above = inside - piece.z
        bent = above * (piece.left + piece.right - 2.0 * piece.slope)
        a = piece.height * (piece.slope - piece.left) + bent
        b = piece.height * piece.left - bent
        c = -piece.slope * above
        # Rounding may leave a double root with a discriminant just below 0.
        root = (b.square() - 4.0 * a * c).clamp_min(0.0).sqrt()
        x = piece.x + piece.width * (2.0 * c / (-b - root))
        return torch.where(is_inside, x, z)

    def _piece(self, values: Tensor, parameters: Tensor, *, of_latents: bool) -> _Piece:
        """The bin that each value lies in, by the knots of data or of latents."""
        knots = self._knots(parameters, values.shape[1])  # (B, 3, K + 1, C, ...)
        inner = knots[:, int(of_latents), 1:-1]
        index = (values.unsqueeze(1) >= inner).sum(dim=1)
        ends = torch.stack((index, index + 1), dim=1).unsqueeze(1)  # (B, 1, 2, C, ...)
        found = knots.gather(2, ends.expand(-1, 3, *ends.shape[2:]))
        lower, upper = found.unbind(dim=2)
        x, z, left = lower.unbind(dim=1)
        width, height, _ = (upper - lower).unbind(dim=1)
        return _Piece(x, z, width, height, height / width, left, upper[:, 2])

    def _knots(self, parameters: Tensor, num_channels: int) -> Tensor:
        """Knots in data and in latents, and the derivatives there: (B, 3, K + 1, C, ...)."""
        raw = parameters.unflatten(1, (self.num_parameters, num_channels))
        raw_bins, raw_derivatives = raw.split([2 * self.bins, self.bins - 1], dim=1)
        shares = (self.softmax_scale * raw_bins.unflatten(1, (2, self.bins))).softmax(dim=2)
        # Where knots would be if all bins had the smallest size, and what the shares add to that.
        smallest = torch.arange(1, self.bins, dtype=raw.dtype, device=raw.device) * SMALLEST_BIN
        smallest = (2.0 * self.bound * smallest - self.bound).view(-1, *(1,) * (raw.ndim - 2))
        free = 2.0 * self.bound * (1.0 - self.bins * SMALLEST_BIN)
        inner = torch.add(smallest, shares[:, :, :-1].cumsum(dim=2), alpha=free)
        derivatives = SMALLEST_DERIVATIVE + F.softplus(raw_derivatives).unsqueeze(1)
        # The ends are set, not summed to: at -B and B the spline meets its tails exactly.
        inner = _extended(_extended(inner, -self.bound, 1, 0), self.bound, 0, 1)
        return torch.cat((inner, _extended(derivatives, 1.0, 1, 1)), dim=1)


def _extended(values: Tensor, by: float, before: int, behind: int) -> Tensor:
    """Axis 2 made longer by a number."""
    return F.pad(values, (0, 0) * (values.ndim - 3) + (before, behind), value=by)


class _Piece(NamedTuple):
    """The bin of each element: its lower corner, size, slope, and derivatives at its ends."""

    x: Tensor
    z: Tensor
    width: Tensor
    height: Tensor
    slope: Tensor
    left: Tensor
    right: Tensor
