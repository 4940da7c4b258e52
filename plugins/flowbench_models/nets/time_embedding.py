"""What networks are told of the time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LONGEST_PERIOD = 10_000.0
"""Of the sinusoids, over 2 pi; that of transformers."""


def sinusoids(t: Tensor, size: int, *, inclusive: bool = False) -> Tensor:
    r"""Cosines and sines of the time at frequencies from 1 down to 1/10,000, in equal ratios.

    Args:
        t: Times, shape (B,), or several of each, (B, K).
        size: Of each time, even; half of it are cosines, the other half sines.
        inclusive: Whether the lowest frequency is reached, rather than that after the last.

    Returns:
        Shape (B, size), or (B, K * size).

    Example:
        >>> sinusoids(torch.zeros(1), 4)
        tensor([[1., 1., 0., 0.]])

    References:
        Vaswani et al. (2017), Attention Is All You Need, https://arxiv.org/abs/1706.03762,
        section 3.5.
    """
    half = size // 2
    steps = torch.arange(half, dtype=t.dtype, device=t.device)
    rate = math.log(LONGEST_PERIOD) / max(half - 1 if inclusive else half, 1)
    angles = t[..., None] * (-rate * steps).exp()
    return torch.cat((angles.cos(), angles.sin()), dim=-1).flatten(1)
