"""Points along an Archimedean spiral, with Gaussian noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from flowbench.api import DataSplits, Split
from numpy.typing import NDArray

NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 10_000, 1_000, 5_000
TURNS, RADIUS, NOISE = 1.5, 3.0, 0.1
SEED = 0


def load(data_dir: Path) -> DataSplits:
    """Draws the points.

    Args:
        data_dir: Not used; the points are generated.

    Returns:
        Training, validation and test points, float32, shape (2,).
    """
    del data_dir
    rng = np.random.Generator(np.random.PCG64(SEED))
    points = spiral(NUM_TRAIN + NUM_VALIDATION + NUM_TEST, rng)
    train, validation, test = np.split(points, [NUM_TRAIN, NUM_TRAIN + NUM_VALIDATION])
    return DataSplits(train=Split(x=train), validation=Split(x=validation), test=Split(x=test))


def spiral(num: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draws points, uniform along the area that the spiral sweeps.

    Args:
        num: Number N of points.
        rng: Source of randomness.

    Returns:
        Points, shape (N, 2).
    """
    along = np.sqrt(rng.uniform(size=num))
    angle = 2.0 * np.pi * TURNS * along
    arm = RADIUS * along[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points: NDArray[np.float64] = arm + NOISE * rng.standard_normal((num, 2))
    return points.astype(np.float32)
