r"""Sliced 2-Wasserstein distance of samples and test data.

.. math:: \mathrm{SW}_2^2 = E_{\theta}\, W_2^2(\theta^T x, \theta^T y)

over directions that are uniform on the sphere. In one dimension the distance of two sets of one
size is that of their sorted values.

References:
    Bonneel et al. (2015), Sliced and Radon Wasserstein Barycenters of Measures,
    https://doi.org/10.1007/s10851-014-0506-3, section 2.
"""

from __future__ import annotations

import math

import numpy as np

from flowbench.api import DataSplits, MetricSettings, MetricValue, TrainedModel
from flowbench_metrics.specs import SLICED_WASSERSTEIN
from flowbench_metrics.vector_sets import Rows, failed, samples_and_test, set_protocol

NUM_DIRECTIONS = 500
DIRECTION_SEED = 0  # the same directions for all models
MAX_EACH = 50_000
CHUNK_VALUES = 1 << 24  # projections held at a time; 128 MB


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """The distance of the protocol's samples and as many test examples.

    Args:
        trained: The model; gives its samples.
        data: Gives the test examples.
        settings: How samples were drawn; gives the seed of the choice.

    Returns:
        ``sliced_wasserstein``, in the units of the data.
    """
    sets = samples_and_test(trained, data, settings, MAX_EACH)
    if isinstance(sets, str):
        return [failed(SLICED_WASSERSTEIN, sets)]
    samples, test = sets
    protocol = set_protocol(trained, settings, len(test), order=2, directions=NUM_DIRECTIONS)
    return [
        MetricValue(
            name=SLICED_WASSERSTEIN.name,
            value=sliced_wasserstein(samples, test, directions(samples.shape[1])),
            unit=SLICED_WASSERSTEIN.unit,
            direction=SLICED_WASSERSTEIN.direction,
            split="test",
            num_examples=len(test),
            protocol=protocol,
        )
    ]


def directions(num_dims: int) -> Rows:
    """Directions that are uniform on the sphere.

    Returns:
        Unit vectors, shape (500, D).
    """
    drawn = np.random.default_rng(DIRECTION_SEED).standard_normal((NUM_DIRECTIONS, num_dims))
    unit: Rows = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


def sliced_wasserstein(x: Rows, y: Rows, along: Rows) -> float:
    """Root of the mean squared 1-D distance.

    Args:
        x: One set, shape (N, D).
        y: The other, shape (N, D).
        along: Unit vectors, shape (L, D).

    Returns:
        The distance.
    """
    step = max(1, CHUNK_VALUES // len(x))
    total = 0.0
    for start in range(0, len(along), step):
        some = along[start : start + step].T  # (D, l)
        gaps = np.sort(x @ some, axis=0) - np.sort(y @ some, axis=0)
        total += float(np.square(gaps).mean(axis=0).sum())
    return math.sqrt(total / len(along))
