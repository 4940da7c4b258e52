"""Densities in the plane that are known up to a factor, to which models are fitted.

All have a known log-normaliser, so that an estimate of it can be held against the truth. Test
points are drawn from the density; training and validation points are those of a wide Gaussian,
which says nothing of it: where to start.

References:
    Rezende and Mohamed (2015), Variational Inference with Normalizing Flows,
    https://arxiv.org/abs/1505.05770, table 1, for the two modes on a ring and for the wave, which
    there has no end along its crest and so no normaliser.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowbench.api import DataSplits, Split
from flowbench_datasets.planar import (
    NUM_POINTS,
    NUM_TEST,
    NUM_TRAIN,
    Points,
    eight_gaussians,
)

START_STD = 3.0  # of the points to start from: as far out as any target here lies

RING_RADIUS, RING_STD = 2.0, 0.4
MODE_DISTANCE, MODE_STD = 2.0, 0.6

WAVE_LENGTH, WAVE_STD, CREST_STD = 4.0, 0.4, 2.0

BANANA_STD, BANANA_BEND, BANANA_SPREAD = 1.5, 0.5, 0.5


def load_two_modes(data_dir: Path) -> DataSplits:
    """Two modes on a ring."""
    return _splits(data_dir, two_modes, seed=11)


def load_eight_gaussians(data_dir: Path) -> DataSplits:
    """Eight equal Gaussians on a circle."""
    return _splits(data_dir, eight_gaussians, seed=12)


def load_wave(data_dir: Path) -> DataSplits:
    """A Gaussian about a sine."""
    return _splits(data_dir, wave, seed=13)


def load_banana(data_dir: Path) -> DataSplits:
    """A Gaussian about a parabola."""
    return _splits(data_dir, banana, seed=14)


def two_modes(num: int, rng: np.random.Generator) -> Points:
    """Draws by rejection from the density of `two_modes_log_density`.

    Args:
        num: Number N of points.

    Returns:
        Points, shape (N, 2).
    """
    return _accepted(num, rng, _ring, _share_of_modes)


def _ring(num: int, rng: np.random.Generator) -> Points:
    """A ring, from points about it, accepted in proportion to their radius."""
    radius = RING_RADIUS + RING_STD * rng.standard_normal(num)
    most = RING_RADIUS + 6.0 * RING_STD  # farther out lies a billionth
    radius = radius[rng.uniform(0.0, most, num) < radius]
    angle = rng.uniform(0.0, 2.0 * math.pi, len(radius))
    points: Points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return points


def _share_of_modes(x: Points) -> NDArray[np.float64]:
    """What of the ring is kept, in [0, 1]."""
    bumps = [
        np.exp(-0.5 * ((x[:, 0] - c) / MODE_STD) ** 2) for c in (-MODE_DISTANCE, MODE_DISTANCE)
    ]
    share: NDArray[np.float64] = (bumps[0] + bumps[1]) / (1.0 + 1e-9)  # both at once: e^-22
    return share


def _accepted(
    num: int,
    rng: np.random.Generator,
    propose: Callable[[int, np.random.Generator], Points],
    share: Callable[[Points], NDArray[np.float64]],
) -> Points:
    kept: list[Points] = []
    while sum(map(len, kept)) < num:
        points = propose(num, rng)
        kept.append(points[rng.uniform(size=len(points)) < share(points)])
    return np.concatenate(kept)[:num]


def wave(num: int, rng: np.random.Generator) -> Points:
    """Draws from the density of `wave_log_density`, shape (N, 2)."""
    along, across = rng.standard_normal((2, num))
    x = CREST_STD * along
    return np.stack([x, np.sin(2.0 * math.pi * x / WAVE_LENGTH) + WAVE_STD * across], axis=1)


def banana(num: int, rng: np.random.Generator) -> Points:
    """Draws from the density of `banana_log_density`, shape (N, 2)."""
    along, across = rng.standard_normal((2, num))
    x = BANANA_STD * along
    bent = BANANA_BEND * (x**2 - BANANA_STD**2)
    return np.stack([x, bent + BANANA_SPREAD * across], axis=1)


def _splits(
    data_dir: Path, draw: Callable[[int, np.random.Generator], Points], *, seed: int
) -> DataSplits:
    """Points to start from as train and validation, draws as test."""
    del data_dir  # they are generated
    rng = np.random.Generator(np.random.PCG64(seed))
    starts = START_STD * rng.standard_normal((NUM_POINTS - NUM_TEST, 2))
    train, validation = np.split(starts.astype(np.float32), [NUM_TRAIN])
    test = draw(NUM_TEST, rng).astype(np.float32)
    return DataSplits(train=Split(x=train), validation=Split(x=validation), test=Split(x=test))
