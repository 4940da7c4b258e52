"""Two tests of whether samples follow a distribution, at levels that chance does not reach."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

CHANCE = 1e-8  # of a false alarm, for each comparison
MIN_EXPECTED = 8.0  # in a cell of the chi-square test, else cells are pooled


def kolmogorov_smirnov(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Largest distance between the empirical distribution functions of two samples.

    Args:
        a: Values, shape (N,).
        b: Values, shape (M,).

    Returns:
        The distance, in [0, 1].
    """
    both = np.sort(np.concatenate([a, b]))
    in_a = np.searchsorted(np.sort(a), both, side="right") / len(a)
    in_b = np.searchsorted(np.sort(b), both, side="right") / len(b)
    return float(np.abs(in_a - in_b).max())


def kolmogorov_smirnov_limit(num_a: int, num_b: int, comparisons: int) -> float:
    """Distance that samples of one distribution exceed with a chance below `CHANCE`.

    Args:
        num_a: Size of one sample.
        num_b: Size of the other.
        comparisons: How many such tests are made (Bonferroni's correction).

    Returns:
        The distance, by Smirnov's asymptotic formula.
    """
    log_chance = math.log(CHANCE / max(1, comparisons) / 2)
    return math.sqrt(-0.5 * log_chance) * math.sqrt(1 / num_a + 1 / num_b)


def chi_square_excess(counts: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """How far Pearson's chi-square lies above its mean, in standard deviations.

    Cells that expect less than `MIN_EXPECTED` are pooled into one.

    Args:
        counts: Samples in each cell, shape (C,).
        probabilities: Their probabilities; what is missing to 1 belongs to a cell of its own.

    Returns:
        (chi-square - degrees of freedom) / sqrt(2 degrees of freedom), after Wilson and Hilferty's
        cube root, which keeps the tail honest with few cells.
    """
    total = int(counts.sum())
    expected = total * probabilities / probabilities.sum()
    small = expected < MIN_EXPECTED
    pooled_counts = np.append(counts[~small], counts[small].sum())
    pooled = np.append(expected[~small], max(float(expected[small].sum()), 1.0))
    statistic = float(((pooled_counts - pooled) ** 2 / pooled).sum())
    freedom = max(1, len(pooled) - 1)
    shrink = 2.0 / (9.0 * freedom)
    return float(((statistic / freedom) ** (1 / 3) - (1 - shrink)) / math.sqrt(shrink))
