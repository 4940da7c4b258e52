r"""Nats and bits per dimension: the only place where one is turned into the other.

The functions use plain arithmetic, so they take floats, NumPy arrays and tensors alike.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # arithmetic needs no NumPy
    import numpy as np
    from numpy.typing import NDArray

# The one place: a second `ln 2` somewhere is how published bits come to differ.
LN2 = math.log(2.0)

LIKELIHOOD_UNITS = ("bits/dim", "bits/char", "nats", "nats/dim")
"""Units of a likelihood, as values are stored in them."""

Number = TypeVar("Number")  # float, numpy.ndarray or torch.Tensor: all carry `/`, `-` and `*`


def bits_per_dim(log_prob_nats: Number, num_dims: int | NDArray[np.int64]) -> Number:
    r"""Bits per dimension, :math:`-\log p(x) / (D \ln 2)`.

    Args:
        log_prob_nats: Log-likelihood summed over event dims, in nats, any shape.
        num_dims: Number D of raw values in one example, or in each of them.

    Returns:
        Bits per dimension, of the same shape and type.

    Example:
        >>> bits_per_dim(-2 * LN2, num_dims=4)
        0.5
    """
    return -log_prob_nats / (num_dims * LN2)  # type: ignore[operator,no-any-return]


def nats_from_bits_per_dim(bits: Number, num_dims: int) -> Number:
    """Inverse of `bits_per_dim`.

    Args:
        bits: Bits per dimension, any shape.
        num_dims: Number D of raw values in one example.

    Returns:
        Log-likelihood in nats, summed over event dims.

    Example:
        >>> round(nats_from_bits_per_dim(bits_per_dim(-7.0, num_dims=4), num_dims=4), 9)
        -7.0
    """
    return -bits * (num_dims * LN2)  # type: ignore[operator,no-any-return]
