"""Residual blocks: their log-determinants, exact and estimated, and their inverse."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import vjp, vmap

from flowbench.api import NotInvertibleError
from flowbench_models.bijections.base import Bijection

MOST_ITERATIONS = 1000  # of a fixed-point inverse; released code
INVERSE_TOLERANCE = 1e-12
"""Largest last change of an iterative inverse, relative to 1 + |x|, where rounding allows it."""

ROUNDINGS = 16  # that the last change may amount to all the same: 1.9e-6 in float32


class ResidualBlock(Bijection):
    r"""A residual block :math:`z = x + g(x)`, invertible if g is a contraction.

    Its log-determinant is that of :math:`I + J` with the Jacobian J of g, either from the whole of
    J, for few dims, or from a draw of a series,

    .. math:: \log\det(I + J) = \sum_k \frac{(-1)^{k+1}}{k}\,\mathrm{tr}\,J^k
              = E\Big[\sum_{k \le n} \frac{(-1)^{k+1}}{k}\,c_k\,v^\top J^k v\Big]

    with a standard normal v, and with coefficients from `random_series` without bias.

    Args:
        net: g, between events of one shape, whose rows do not see each other.

    Example:
        >>> block = ResidualBlock(nn.Tanh())
        >>> x = torch.full((1, 2), 0.5)
        >>> z, ladj = block(x)
        >>> torch.allclose(block.inverse(z), x, atol=1e-6)
        True
        >>> math.isclose(float(ladj), 2 * math.log(2 - math.tanh(0.5) ** 2), rel_tol=1e-5)
        True

    References:
        Behrmann et al. (2019), Invertible Residual Networks, https://arxiv.org/abs/1811.00995;
        Chen et al. (2019), Residual Flows for Invertible Generative Modeling,
        https://arxiv.org/abs/1906.02735, section 3.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps data to latent, with the exact ladj from as many products as there are dims."""
        g, pulled_back = _vjp(self.net, x)
        num_dims = x[0].numel()
        identity = torch.eye(num_dims, dtype=x.dtype, device=x.device)
        basis = identity.view(num_dims, 1, *x.shape[1:]).expand(num_dims, *x.shape)
        (rows,) = vmap(pulled_back)(basis)  # (D, B, ...)
        jacobians = rows.flatten(2).transpose(0, 1)  # (B, D, D)
        ladj: Tensor = torch.linalg.slogdet(jacobians + identity).logabsdet
        return x + g, ladj

    def estimate(
        self, x: Tensor, probe: Tensor, coefficients: Sequence[float]
    ) -> tuple[Tensor, Tensor]:
        """Maps data to latent, with a draw of the ladj.

        Args:
            x: Data, shape (B, ...).
            probe: Standard normal noise v, of the shape of x.
            coefficients: The coefficients c of the series, that of k = 1 first.

        Returns:
            z, and the draw of ladj, shape (B,), in nats.
        """
        if self.training or not torch.is_grad_enabled():
            parameters = [p for p in self.net.parameters() if p.requires_grad]
            g, ladj = _Estimate.apply(self.net, probe, coefficients, x, *parameters)
            return x + g, ladj
        # By torch's functional transforms, so that evaluation can be differentiated to any order.
        g, pulled_back = _vjp(self.net, x)
        ladj, cotangent = x.new_zeros(len(x)), probe
        for k, coefficient in enumerate(coefficients, 1):
            (cotangent,) = pulled_back(cotangent)
            ladj = ladj + _term(k, coefficient) * _products(cotangent, probe)
        return x + g, ladj

    @torch.no_grad()
    def inverse(self, z: Tensor) -> Tensor:
        """Maps latent to data by the fixed-point iteration x <- z - g(x).

        Raises:
            NotInvertibleError: It has not come to rest, so g is no contraction.
        """
        x, change = iterate(lambda x, z: z - self.net(x), z, z, MOST_ITERATIONS)
        tolerance = inverse_tolerance(z)
        if change <= tolerance:
            return x
        raise NotInvertibleError(
            f"the fixed-point inverse of a residual block still moves by {change:.2g} of its "
            f"values after {MOST_ITERATIONS} iterations, expected at most {tolerance:.1g}: its "
            "network is no contraction; set a smaller coefficient"
        )

    def initialize(self, x: Tensor) -> Tensor:
        """What later layers are initialised from, without the log-determinant."""
        z: Tensor = x + self.net(x)
        return z


class _Estimate(torch.autograd.Function):
    r"""g(x) and a draw of ladj, whose gradient is one of the Neumann series.

    .. math:: \nabla \log\det(I + J) = \mathrm{tr}\,(I + J)^{-1} \nabla J
              = E\Big[\sum_{k \ge 0} (-1)^k c_k\, v^\top J^k\, \nabla J\, v\Big]

    The products :math:`v^\top J^k` are needed for the value, too, and are kept nowhere: the graph
    that is held until the backward pass is that of g alone, however many terms there are.
    """

    @staticmethod
    def forward(
        ctx: Any,
        net: nn.Module,
        probe: Tensor,
        coefficients: Sequence[float],
        x: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            # No leaf: who watches modules hooks into their inputs, which `grad` refuses for leaves.
            g = net(x.view_as(x))
        ladj, cotangent, neumann = x.new_zeros(len(x)), probe, probe
        for k, coefficient in enumerate(coefficients, 1):
            (cotangent,) = torch.autograd.grad(g, x, cotangent, retain_graph=True)
            ladj = ladj + _term(k, coefficient) * _products(cotangent, probe)
            neumann = neumann + (-1) ** k * coefficient * cotangent
        ctx.graph = x, g
        ctx.save_for_backward(probe, neumann, *parameters)
        return g.detach(), ladj.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_g: Tensor, of_ladj: Tensor) -> tuple[Tensor | None, ...]:
        (x, g), (probe, neumann, *parameters) = ctx.graph, ctx.saved_tensors
        with torch.enable_grad():
            (pulled_back,) = torch.autograd.grad(g, x, neumann, create_graph=True)
            draw = (_products(pulled_back, probe) * of_ladj).sum()
            # Both at once: the two pass through the same graph of g.
            gradients = torch.autograd.grad(
                [g, draw], [x, *parameters], [of_g, torch.ones_like(draw)], allow_unused=True
            )
        return None, None, None, *gradients


def inverse_tolerance(z: Tensor) -> float:
    """The largest last change of an iterative inverse, relative to 1 + |x|, in z's precision."""
    return max(INVERSE_TOLERANCE, ROUNDINGS * float(torch.finfo(z.dtype).eps))


def iterate(
    update: Callable[[Tensor, Tensor], Tensor], x: Tensor, z: Tensor, most: int
) -> tuple[Tensor, float]:
    """Iterates each example until it comes to rest.

    Those that have leave whenever they are half of what is left: of thousands the slowest takes
    several times as many iterations as most.

    Args:
        update: The next values of examples, from the present ones and their part of z.
        x: Values at the start, shape (B, ...).
        z: What the examples are mapped to, shape (B, ...).
        most: Largest number of iterations.

    Returns:
        The values, and their largest last change, relative to 1 + |x|; not finite if one is not.
    """
    tolerance, found, worst = inverse_tolerance(z), x.clone(), math.inf
    rows = torch.arange(len(x), device=x.device)
    for _ in range(most):
        before, x = x, update(x, z)
        change = ((x - before).abs() / (1.0 + x.abs())).flatten(1).amax(dim=1)
        moves = ~(change <= tolerance)  # whatever is no number does
        worst, num_left = torch.stack((change.max(), moves.sum().to(change))).tolist()
        if num_left == 0 or not math.isfinite(worst):
            break
        if 2 * num_left <= len(rows):
            found[rows] = x
            rows, x, z = rows[moves], x[moves], z[moves]
    found[rows] = x
    return found, worst


def random_series(extra: int, *, exact: int, rate: float) -> list[float]:
    r"""Coefficients of a series that is cut at random, without bias.

    Of N ~ Poisson(rate) terms beyond the first ones, the k-th is there with probability
    :math:`P(N \ge k)`, and is divided by it.

    Args:
        extra: The draw of N.
        exact: Number of terms that are always there.
        rate: Mean of N.

    Returns:
        The coefficients, that of the first term first.

    Example:
        >>> [round(c, 3) for c in random_series(2, exact=2, rate=2.0)]
        [1.0, 1.0, 1.157, 1.684]

    References:
        Chen et al. (2019), https://arxiv.org/abs/1906.02735, theorem 1 and eq. 6-8.
    """
    coefficients, missing, probability = [1.0] * exact, 0.0, math.exp(-rate)
    for k in range(1, extra + 1):
        missing += probability  # P(N <= k - 1)
        probability *= rate / k
        coefficients.append(1.0 / (1.0 - missing))
    return coefficients


def _vjp(net: nn.Module, x: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]:
    """g(x), and the function from v to v times the Jacobian."""
    returned: Any = vjp(net, x)  # typed as if there were always a third value
    g, pulled_back = returned
    return g, pulled_back


def _term(k: int, coefficient: float) -> float:
    return (coefficient if k % 2 else -coefficient) / k


def _products(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product of each example, shape (B,)."""
    return (a * b).flatten(1).sum(dim=1)
