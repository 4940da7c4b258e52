"""Mean and standard deviation of data that come in chunks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from flowbench.errors import DataError

Per = Literal["dim", "channel", "all"]


ROUNDINGS = 4  # of the largest value: a range that is no wider is rounding, not spread


@dataclass(frozen=True)
class Moments:
    """Moments of data, each of a shape that broadcasts to the event shape, in float64.

    Attributes:
        std: Population standard deviation; 1 where there is no spread, so that one can divide.
        flat: Where there is none: the values are equal but for their rounding.
    """

    mean: Tensor
    std: Tensor
    flat: Tensor


def moments(chunks: Iterable[Tensor], per: Per, resolution: float) -> Moments:
    r"""Moments over examples, and over event dims as ``per`` says.

    Chunks are merged by the pairwise update of Chan et al., which unlike
    :math:`E[x^2] - E[x]^2` loses no digits where the mean is large beside the spread.

    Args:
        chunks: Values, each of shape (B, *event_shape), in float64.
        per: One pair for each event dim, for each index of the first event axis, or one for all.
        resolution: Relative rounding error of the values.

    Returns:
        The moments.

    Raises:
        DataError: A value is not finite, or a spread cannot be squared in float64.

    References:
        Chan et al. (1983), Algorithms for computing the sample variance,
        https://doi.org/10.1080/00031305.1983.10483115.
    """
    # Scalars that broadcast: the first chunk gives them its shape.
    count, mean, sum_squares = 0, torch.zeros(()), torch.zeros(())
    low, high = torch.tensor(math.inf), torch.tensor(-math.inf)
    for chunk in chunks:
        axes = _pooled_axes(chunk.dim(), per)
        # How many values a mean is over, which is more than examples where dims are pooled.
        num = math.prod(chunk.shape[axis] for axis in axes)
        chunk_mean = chunk.mean(dim=axes, keepdim=True)[0]
        chunk_squares = (chunk - chunk_mean).square().sum(dim=axes, keepdim=True)[0]
        delta, total = chunk_mean - mean, count + num
        sum_squares = sum_squares + chunk_squares + delta.square() * (count * num / total)
        mean, count = mean + delta * (num / total), total
        # The range and not the variance tells a column without spread: the variance of equal large
        # values is the rounding of their mean, and no longer zero.
        low = torch.minimum(low, chunk.amin(dim=axes, keepdim=True)[0])
        high = torch.maximum(high, chunk.amax(dim=axes, keepdim=True)[0])
    flat = high - low <= ROUNDINGS * resolution * torch.maximum(high.abs(), low.abs())
    mean = torch.where(flat, low + (high - low) / 2, mean)  # a mean of equal values is rounded
    # The population's: this divides data, and is no estimate of anything.
    std = torch.where(flat, 1.0, (sum_squares / count).sqrt())
    bad = ~(mean.isfinite() & std.isfinite() & (std > 0)).flatten()
    if bad.any():
        first = int(bad.nonzero()[0])
        raise DataError(
            f"no mean and spread can be had of the training data, whose values in dim {first} go "
            f"from {float(low.flatten()[first]):g} to {float(high.flatten()[first]):g}; give "
            "finite values of magnitudes from 1e-150 to 1e150"
        )
    return Moments(mean, std, flat)


def _pooled_axes(num_axes: int, per: Per) -> tuple[int, ...]:
    if per == "dim":
        return (0,)
    if per == "channel":
        return (0, *range(2, num_axes))
    return tuple(range(num_axes))
