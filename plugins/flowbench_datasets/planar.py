"""Points in the plane, drawn from seeded generators: four standard test densities.

Scales follow the FFJORD paper's toy data, which most flow papers plot.

References:
    Grathwohl et al. (2019), FFJORD, https://arxiv.org/abs/1810.01367, section 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api import DataSplits, Split

NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 20_000, 2_000, 10_000
NUM_POINTS = NUM_TRAIN + NUM_VALIDATION + NUM_TEST

MOON_NOISE = 0.1  # standard deviation, for moons of radius 1
MOON_SCALE = 2.0
MOON_SHIFT = np.array([-1.0, -0.2])

NUM_GAUSSIANS = 8
GAUSSIAN_RADIUS = 4.0 / math.sqrt(2.0)
GAUSSIAN_STD = 0.5 / math.sqrt(2.0)

NUM_ARMS = 5
ARM_STD = (0.3, 0.1)  # along and across an arm, before it is bent
ARM_RATE = 0.25  # radians for each e-fold of distance
ARM_SCALE = 2.0

Points = NDArray[np.float64]


def load_two_moons(data_dir: Path) -> DataSplits:
    """Two interleaving half circles with Gaussian noise.

    Args:
        data_dir: Not used; the points are generated.

    Returns:
        20,000 training, 2,000 validation and 10,000 test points, float32, shape (2,), with the
        half circle of each as its label.
    """
    del data_dir
    rng = _generator(seed=1)
    points, moons = labelled_moons(NUM_POINTS, rng)
    return _splits(points, {"label": moons.astype(np.int64)})


def load_checkerboard(data_dir: Path) -> DataSplits:
    """The uniform distribution on eight squares of a checkerboard.

    Args:
        data_dir: Not used; the points are generated.

    Returns:
        20,000 training, 2,000 validation and 10,000 test points, float32, shape (2,).
    """
    del data_dir
    return _splits(checkerboard(NUM_POINTS, _generator(seed=2)))


def load_eight_gaussians(data_dir: Path) -> DataSplits:
    """Eight equal Gaussians on a circle.

    Args:
        data_dir: Not used; the points are generated.

    Returns:
        20,000 training, 2,000 validation and 10,000 test points, float32, shape (2,).
    """
    del data_dir
    return _splits(eight_gaussians(NUM_POINTS, _generator(seed=3)))


def load_pinwheel(data_dir: Path) -> DataSplits:
    """Five Gaussian arms, bent into a pinwheel.

    Args:
        data_dir: Not used; the points are generated.

    Returns:
        20,000 training, 2,000 validation and 10,000 test points, float32, shape (2,).
    """
    del data_dir
    return _splits(pinwheel(NUM_POINTS, _generator(seed=4)))


def two_moons(num: int, rng: np.random.Generator) -> Points:
    """Draws from two half circles of radius 2, noise 0.2 included.

    Args:
        num: Number N of points.
        rng: Source of randomness.

    Returns:
        Points, shape (N, 2).
    """
    return labelled_moons(num, rng)[0]


def labelled_moons(num: int, rng: np.random.Generator) -> tuple[Points, NDArray[np.bool_]]:
    """The same, with the half circle that each was drawn from.

    Args:
        num: Number N of points.
        rng: Source of randomness.

    Returns:
        Points, shape (N, 2), and whether each is of the upper half circle, shape (N,).
    """
    angle = rng.uniform(0.0, math.pi, num)
    upper = rng.integers(0, 2, num) == 1
    points = moon_arcs(angle, upper) + MOON_NOISE * rng.standard_normal((num, 2))
    return MOON_SCALE * points + MOON_SHIFT, upper


def moon_arcs(angle: Points, upper: NDArray[np.bool_]) -> Points:
    """The two arcs without noise, at radius 1.

    Args:
        angle: Angle in [0, pi], shape (N,).
        upper: Which arc, shape (N,).

    Returns:
        Points, shape (N, 2).
    """
    x, y = np.cos(angle), np.sin(angle)
    return np.stack([np.where(upper, x, 1.0 - x), np.where(upper, y, 0.5 - y)], axis=1)


def checkerboard(num: int, rng: np.random.Generator) -> Points:
    """Draws uniformly from the eight squares of side 2 of [-4, 4]^2 whose indices sum to even.

    Args:
        num: Number N of points.
        rng: Source of randomness.

    Returns:
        Points, shape (N, 2).
    """
    column = rng.integers(0, 4, num)
    row = 2 * rng.integers(0, 2, num) + column % 2
    corner = np.stack([column, row], axis=1) - 2.0
    return 2.0 * (corner + rng.uniform(size=(num, 2)))


def eight_gaussians(num: int, rng: np.random.Generator) -> Points:
    """Draws from the mixture of eight Gaussians.

    Args:
        num: Number N of points.
        rng: Source of randomness.

    Returns:
        Points, shape (N, 2).
    """
    centres = gaussian_centres()[rng.integers(0, NUM_GAUSSIANS, num)]
    return centres + GAUSSIAN_STD * rng.standard_normal((num, 2))


def gaussian_centres() -> Points:
    """Centres of the eight Gaussians.

    Returns:
        Points, shape (8, 2).
    """
    angle = 2.0 * math.pi * np.arange(NUM_GAUSSIANS) / NUM_GAUSSIANS
    return GAUSSIAN_RADIUS * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def pinwheel(num: int, rng: np.random.Generator) -> Points:
    """Draws from five Gaussian arms, each turned by an angle that grows with the distance.

    Args:
        num: Number N of points.
        rng: Source of randomness.

    Returns:
        Points, shape (N, 2).

    References:
        Johnson et al. (2016), Composing graphical models with neural networks for structured
        representations and fast inference, https://arxiv.org/abs/1603.06277.
    """
    along, across = rng.standard_normal((2, num)) * np.array(ARM_STD)[:, None]
    along = along + 1.0
    angle = 2.0 * math.pi * rng.integers(0, NUM_ARMS, num) / NUM_ARMS + ARM_RATE * np.exp(along)
    cos, sin = np.cos(angle), np.sin(angle)
    return ARM_SCALE * np.stack([cos * along - sin * across, sin * along + cos * across], axis=1)


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _splits(points: Points, context: Mapping[str, NDArray[Any]] | None = None) -> DataSplits:
    """Splits by position: train, validation, test."""
    everything = Split(x=points.astype(np.float32), context=context or {})
    rows = np.split(np.arange(NUM_POINTS), [NUM_TRAIN, NUM_TRAIN + NUM_VALIDATION])
    train, validation, test = (everything.take(part) for part in rows)
    return DataSplits(train=train, validation=validation, test=test)
