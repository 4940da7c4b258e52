"""Probabilities of levels, given numbers that lie near them."""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS_AT_ONCE = 16  # of those that a logarithm of a sum goes over: all would take much memory


def binned_normal_log_prob(
    levels: Tensor, x: Tensor, mean: Tensor, log_std: Tensor, num: int
) -> Tensor:
    r"""Log-probability of levels by a normal density, cut into bins half-way between them.

    .. math:: p(x) = \Phi\big((x + h - \mu) / \sigma\big) - \Phi\big((x - h - \mu) / \sigma\big),
        \qquad h = 1 / (L - 1)

    The first and the last bin reach on without end.

    Args:
        levels: Integers, shape (B, ...).
        x: The numbers of the levels, from -1 to 1.
        mean: Mean of the density.
        log_std: Logarithm of its standard deviation.
        num: Number L of levels.

    Returns:
        In nats, of the shape of the levels.

    Example:
        >>> levels, zero = torch.arange(3), torch.zeros(3)
        >>> binned_normal_log_prob(levels, levels - 1.0, zero, zero, 3).exp()
        tensor([0.3085, 0.3829, 0.3085])

    References:
        Ho et al. (2020), Denoising Diffusion Probabilistic Models,
        https://arxiv.org/abs/2006.11239, eq. 13.
    """
    half, inverse = 1.0 / (num - 1), (-log_std).exp()
    low, high = (x - half - mean) * inverse, (x + half - mean) * inverse
    # In the upper tail both are mirrored: there their difference would be lost to rounding.
    mirrored = low + high > 0
    low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    is_first, is_last = levels == 0, levels == num - 1
    # Mirrored, what is without end above is so below.
    open_below = torch.where(mirrored, is_last, is_first)
    open_above = torch.where(mirrored, is_first, is_last)
    above = torch.special.log_ndtr(high).masked_fill(open_above, 0.0)
    # At least as far apart as rounding: bins that are much narrower than the density.
    gap = (torch.special.log_ndtr(low) - above).masked_fill(open_below, -torch.inf)
    log_p: Tensor = above + (-torch.expm1(gap.clamp_max(-torch.finfo(gap.dtype).eps))).log()
    return log_p


def nearby_log_prob(levels: Tensor, y: Tensor, values: Tensor, spread: Tensor) -> Tensor:
    r"""Log-probability of levels by how near a number lies: :math:`p(x) \propto N(y; x, s^2)`.

    Args:
        levels: Integers, shape (B, ...).
        y: Numbers, of the same shape.
        values: The number of each level, shape (L,).
        spread: s, shape ().

    Returns:
        In nats, of the shape of the levels.

    Example:
        >>> values, spread = torch.tensor([-1.0, 1.0]), torch.tensor(1.0)
        >>> nearby_log_prob(torch.tensor([1]), torch.tensor([0.0]), values, spread).exp()
        tensor([0.5000])

    References:
        Kingma et al. (2021), Variational Diffusion Models, https://arxiv.org/abs/2107.00630,
        section 3.3.
    """

    def logits(of: Tensor, distant: Tensor) -> Tensor:
        out: Tensor = -0.5 * ((distant - of) / spread).square()
        return out

    parts = [
        torch.logsumexp(logits(some, y.unsqueeze(-1)), dim=-1)
        for some in values.split(LEVELS_AT_ONCE)
    ]
    return logits(values[levels], y) - torch.logsumexp(torch.stack(parts), dim=0)
