"""Whether samples follow a distribution, at levels that chance does not reach."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowbench.api.data import Manifold

CHANCE = 1e-8  # of a false alarm, for each comparison
NUM_CENTRES, FREEDOM = 64, 3  # of a mixture; so heavy a tail keeps weights bounded
WIDER, SHARE_WIDER = 5.0, 0.2
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


def largest_z(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Largest difference of two samples' means over several columns, in standard errors.

    Args:
        a: Values, shape (N, K).
        b: Values, shape (M, K).

    Returns:
        The difference; 0 where neither varies and both agree.
    """
    spread = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b))
    return float((np.abs(a.mean(axis=0) - b.mean(axis=0)) / np.maximum(spread, 1e-9)).max())


@dataclass(frozen=True)
class Uniform:
    """The uniform distribution on a manifold."""

    manifold: Manifold

    def draw(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Points, shape (num, D)."""
        return np.asarray(self.manifold.sample_uniform(num, rng), dtype=np.float64)

    def log_prob(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-densities with respect to the volume, shape (N,)."""
        return np.full(len(x), -math.log(self.manifold.volume))


@dataclass(frozen=True)
class Mixture:
    """Student's t distributions around points, wide enough to hold what the points are drawn from.

    Attributes:
        centres: Shape (C, D).
        factor: Cholesky factor of the scale of each, shape (D, D); a part is `WIDER` times wider.
    """

    centres: NDArray[np.float64]
    factor: NDArray[np.float64]

    @classmethod
    def around(cls, points: NDArray[np.float64], rng: np.random.Generator) -> Mixture:
        """Kernels on some of the points, by Scott's rule."""
        num_dims = points.shape[1]
        centres = rng.choice(points, NUM_CENTRES)
        scale = np.atleast_2d(np.cov(points.T)) + 1e-9 * np.eye(num_dims)
        return cls(centres, np.linalg.cholesky(scale) * NUM_CENTRES ** (-1 / (num_dims + 4)))

    def draw(self, num: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Points, shape (num, D)."""
        size = num, self.centres.shape[1]
        t = rng.standard_normal(size) / np.sqrt(rng.chisquare(FREEDOM, (num, 1)) / FREEDOM)
        wider = np.where(rng.random((num, 1)) < SHARE_WIDER, WIDER, 1.0)
        return rng.choice(self.centres, num) + wider * t @ self.factor.T

    def log_prob(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-densities, shape (N,)."""
        inverse = np.linalg.inv(self.factor).T
        num_dims = x.shape[1]
        constant = (
            math.lgamma((FREEDOM + num_dims) / 2)
            - math.lgamma(FREEDOM / 2)
            - 0.5 * num_dims * math.log(FREEDOM * math.pi)
            - float(np.log(np.diag(self.factor)).sum())
        )
        density = np.zeros(len(x))
        for centre in self.centres:
            squares = np.square((x - centre) @ inverse).sum(axis=1) / FREEDOM
            for wider, share in ((1.0, 1 - SHARE_WIDER), (WIDER, SHARE_WIDER)):
                kernel = (1 + squares / wider**2) ** (-(FREEDOM + num_dims) / 2)
                density += share / wider**num_dims * kernel
        return np.asarray(np.log(density / len(self.centres)) + constant)
