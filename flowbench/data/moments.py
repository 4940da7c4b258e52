"""Mean and standard deviation of data that come in chunks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

Per = Literal["dim", "channel", "all"]


def moments(chunks: Iterable[Tensor], per: Per) -> tuple[Tensor, Tensor]:
    r"""Moments over examples, and over event dims as ``per`` says.

    Chunks are merged by the pairwise update of Chan et al., which unlike
    :math:`E[x^2] - E[x]^2` loses no digits where the mean is large beside the spread.

    Args:
        chunks: Values, each of shape (B, *event_shape), in float64.
        per: One pair for each event dim, for each index of the first event axis, or one for all.

    Returns:
        Mean and (population) standard deviation, of a shape that broadcasts to the event shape. A
        spread of 0 is given as 1, so that one can divide by it.

    References:
        Chan et al. (1983), Algorithms for computing the sample variance,
        https://doi.org/10.1080/00031305.1983.10483115.
    """
    count, mean, sum_squares = 0, torch.zeros(()), torch.zeros(())
    for chunk in chunks:
        axes = _pooled_axes(chunk.dim(), per)
        num = math.prod(chunk.shape[axis] for axis in axes)
        chunk_mean = chunk.mean(dim=axes, keepdim=True)[0]
        chunk_squares = (chunk - chunk_mean).square().sum(dim=axes, keepdim=True)[0]
        delta, total = chunk_mean - mean, count + num
        sum_squares = sum_squares + chunk_squares + delta.square() * (count * num / total)
        mean, count = mean + delta * (num / total), total
    std = (sum_squares / count).sqrt()
    return mean, torch.where(std > 0, std, 1.0)


def _pooled_axes(num_axes: int, per: Per) -> tuple[int, ...]:
    if per == "dim":
        return (0,)
    if per == "channel":
        return (0, *range(2, num_axes))
    return tuple(range(num_axes))
