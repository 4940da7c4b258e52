r"""Maximum mean discrepancy of samples and test data, with a Gaussian kernel.

.. math:: \mathrm{MMD}^2 = E\,k(x, x') + E\,k(y, y') - 2 E\,k(x, y),\qquad
          k(x, y) = e^{-|x - y|^2 / 2\sigma^2}

The bandwidth is the median distance between test examples: it is a property of the data, so that
all models are measured by one kernel.

References:
    Gretton et al. (2012), A Kernel Two-Sample Test, https://jmlr.org/papers/v13/gretton12a.html,
    eq. 3 and 5.
"""

from __future__ import annotations

import math

import numpy as np

from flowbench.api import DataSplits, MetricSettings, MetricValue, TrainedModel
from flowbench_metrics.specs import MMD
from flowbench_metrics.vector_sets import Rows, failed, flat, pick, samples_and_test, set_protocol

MAX_EACH = 4_000  # of each set: a kernel matrix of it is 128 MB
NUM_FOR_BANDWIDTH = 2_000


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """The discrepancy of the protocol's samples and as many test examples.

    Args:
        trained: The model; gives its samples.
        data: Gives the test examples.
        settings: How samples were drawn; gives the seed of the choice.

    Returns:
        ``mmd``, the root of the biased estimate, which is never negative; and ``mmd_squared``, the
        unbiased estimate of its square, which is 0 on average for a perfect model and may fall
        below.
    """
    sets = samples_and_test(trained, data, settings, MAX_EACH)
    if isinstance(sets, str):
        return [failed(MMD, sets)]
    bandwidth = median_distance(flat(data.test.x))
    if bandwidth == 0.0:
        return [MetricValue.unavailable(MMD, "half of all test examples are equal: no bandwidth")]
    squared, unbiased = mmd_squared(*sets, bandwidth)
    num = len(sets[0])
    protocol = set_protocol(trained, settings, num, kernel="gaussian", bandwidth=bandwidth)
    return [
        MetricValue(
            name=name,
            value=value,
            unit=MMD.unit,
            direction=MMD.direction,
            split="test",
            num_examples=num,
            protocol=protocol,
        )
        for name, value in ((MMD.name, math.sqrt(squared)), ("mmd_squared", unbiased))
    ]


def median_distance(rows: Rows) -> float:
    """Median distance between two of `NUM_FOR_BANDWIDTH` rows at most, always the same ones.

    Args:
        rows: Rows, shape (N, D).

    Returns:
        The median over pairs of different rows.
    """
    some = pick(rows, min(len(rows), NUM_FOR_BANDWIDTH), np.random.default_rng(0))
    upper = np.triu_indices(len(some), k=1)
    return float(np.median(np.sqrt(squared_distances(some, some)[upper])))


def mmd_squared(x: Rows, y: Rows, bandwidth: float) -> tuple[float, float]:
    """Two estimates of the squared discrepancy.

    Args:
        x: One set, shape (N, D), N > 1.
        y: The other, shape (N, D).
        bandwidth: The kernel's standard deviation, in the units of the data.

    Returns:
        The biased estimate, with each point's kernel to itself, at least 0; and the unbiased one.
    """
    num = len(x)
    own = _kernel_sum(x, x, bandwidth) + _kernel_sum(y, y, bandwidth)
    across = 2.0 * _kernel_sum(x, y, bandwidth) / num**2
    unbiased = (own - 2.0 * num) / (num * (num - 1)) - across
    return max(0.0, own / num**2 - across), unbiased


def _kernel_sum(x: Rows, y: Rows, bandwidth: float) -> float:
    return float(np.exp(squared_distances(x, y) / (-2.0 * bandwidth**2)).sum())


def squared_distances(x: Rows, y: Rows) -> Rows:
    """Squared Euclidean distances of all pairs, shape (N, M).

    Args:
        x: Rows, shape (N, D).
        y: Rows, shape (M, D).
    """
    from scipy.spatial.distance import cdist

    distances: Rows = cdist(x, y, "sqeuclidean")
    return distances
