"""Mass of a 2-D density: its integral over a grid, which must be 1.

A model whose log-determinant is wrong reports densities that integrate to something else, and a
likelihood that cannot be believed. The grid covers training and test data with a margin of half
their range on every side; mass beyond it is missing from the value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flowbench.api import DataSplits, MetricSettings, MetricValue, TrainedModel
from flowbench_metrics.specs import DENSITY_MASS

NUM_CELLS = 256  # along each axis
MARGIN = 0.5  # of the range, on every side


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Integrates the density by the midpoint rule.

    Args:
        trained: The model; gives densities.
        data: Says where the mass should be.
        settings: Not used.

    Returns:
        ``density_mass``; unavailable for a likelihood that is a bound or an estimate, or one of
        noisy data.
    """
    del settings
    kind = trained.likelihood("test").likelihood
    if kind.stochastic or kind.measure != "continuous":
        reason = "the likelihood is a bound, an estimate or of noisy data: there is no density"
        return [MetricValue.unavailable(DENSITY_MASS, reason)]
    low, high = bounds(data.train.x, data.test.x)
    points, cell = grid(low, high, data.test.x.dtype)
    mass = float(np.exp(trained.log_prob(points)).sum() * cell)
    box = [[round(float(v), 4) for v in pair] for pair in zip(low, high, strict=True)]
    return [
        MetricValue(
            name=DENSITY_MASS.name,
            value=mass,
            unit=DENSITY_MASS.unit,
            direction=DENSITY_MASS.direction,
            num_examples=len(points),
            protocol={"cells": [NUM_CELLS, NUM_CELLS], "box": box, "weights": trained.weights},
        )
    ]


def bounds(*sets: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The corners of a box around points, with a margin.

    Args:
        *sets: Points, each of shape (N, 2).

    Returns:
        Its low and its high corner, each of shape (2,).
    """
    points = np.concatenate([x.reshape(-1, 2) for x in sets]).astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    margin = MARGIN * np.maximum(high - low, 1e-6)
    return low - margin, high + margin


def grid(
    low: NDArray[np.float64], high: NDArray[np.float64], dtype: np.dtype[np.floating]
) -> tuple[NDArray[np.floating], float]:
    """The midpoints of the cells of a box.

    Args:
        low: Its low corner.
        high: Its high corner.
        dtype: Of the points: that of the data.

    Returns:
        Points, shape (N, 2), and the area of a cell.
    """
    steps = (np.arange(NUM_CELLS) + 0.5) / NUM_CELLS
    axes = [a + (b - a) * steps for a, b in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    return points.astype(dtype), float(np.prod((high - low) / NUM_CELLS))
