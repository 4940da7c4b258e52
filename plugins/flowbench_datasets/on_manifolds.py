r"""Points on a sphere, a torus and among rotations: mixtures with densities in closed form.

All densities are with respect to the volume of `flowbench.api.manifolds`. On unit vectors of D
components the von Mises-Fisher law about :math:`\mu` is :math:`C_D(\kappa) e^{\kappa \mu^\top x}`;
among rotations it counts twice, for both quaternions. On a torus a normal law is wrapped: summed
over all whole turns.

References:
    Mardia and Jupp (2000), Directional Statistics, sections 3.5.7 and 9.3.2; samples by Wood
    (1994), Simulation of the von Mises Fisher distribution,
    https://doi.org/10.1080/03610919408813161.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api import DataError, DataSplits, Split
from flowbench.api.specs import SplitName

NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 10_000, 1_000, 5_000
TURNS = 3  # whole turns to either side that a wrapped law is summed over
EARTH_SEED = 0  # of the pinned permutation
EARTH_PARTS = 10  # of which one is validation and one test

Points = NDArray[np.float64]

SPHERE_MEANS = np.array([[0.0, 0.0, 1.0], [0.8, 0.6, 0.0], [-0.6, 0.0, -0.8], [0.0, -1.0, 0.0]])
SPHERE_KAPPA = 20.0
ROTATION_MEANS = np.array([[1.0, 0, 0, 0], [0.5, 0.5, 0.5, 0.5], [0, 0, 0.6, -0.8]])
ROTATION_KAPPA = 20.0
TORUS_MEANS = np.array([[0.2, 0.2], [3.0, 1.5], [4.5, 5.5]])
TORUS_STD = 0.5


def load_sphere(data_dir: Path) -> DataSplits:
    """Four von Mises-Fisher laws on the sphere, of equal shares.

    Args:
        data_dir: Not used; the points are generated.

    Returns:
        10,000 training, 1,000 validation and 5,000 test points, float32, shape (3,).
    """
    del data_dir
    return _splits(lambda num, rng: draw_fisher(SPHERE_MEANS, SPHERE_KAPPA, num, rng), seed=1)


def load_rotations(data_dir: Path) -> DataSplits:
    """Three von Mises-Fisher laws among rotations, as quaternions of either sign.

    Args:
        data_dir: Not used; the points are generated.

    Returns:
        10,000 training, 1,000 validation and 5,000 test points, float32, shape (4,).
    """
    del data_dir

    def drawn(num: int, rng: np.random.Generator) -> Points:
        signs = rng.choice([-1.0, 1.0], size=(num, 1))
        return signs * draw_fisher(ROTATION_MEANS, ROTATION_KAPPA, num, rng)

    return _splits(drawn, seed=2)


def load_torus(data_dir: Path) -> DataSplits:
    """Three wrapped normal laws on a torus of two angles, one of them across a full turn.

    Args:
        data_dir: Not used; the points are generated.

    Returns:
        10,000 training, 1,000 validation and 5,000 test points, float32, shape (2,).
    """
    del data_dir

    def drawn(num: int, rng: np.random.Generator) -> Points:
        means = rng.choice(TORUS_MEANS, num)
        return np.asarray((means + TORUS_STD * rng.standard_normal((num, 2))) % (2 * np.pi))

    return _splits(drawn, seed=3)


def log_density_sphere(x: Points) -> Points:
    """Log-density of `load_sphere`, nats, at points (N, 3)."""
    return _log_mean_exp(_log_fisher(x, SPHERE_MEANS, SPHERE_KAPPA))


def log_density_rotations(x: Points) -> Points:
    """Log-density of `load_rotations`, nats, at quaternions (N, 4) of either sign."""
    both = np.stack([_log_fisher(s * x, ROTATION_MEANS, ROTATION_KAPPA) for s in (1.0, -1.0)])
    return _log_mean_exp(np.logaddexp(*both))


def log_density_torus(x: Points) -> Points:
    """Log-density of `load_torus`, nats, at angles (N, 2)."""
    turns = 2 * np.pi * np.arange(-TURNS, TURNS + 1)
    # (N, means, angles, turns)
    off = (x[:, None, :, None] - TORUS_MEANS[None, :, :, None] + turns) / TORUS_STD
    constant = math.log(TORUS_STD * math.sqrt(2 * math.pi))
    each = np.logaddexp.reduce(-0.5 * off**2, axis=-1) - constant
    return _log_mean_exp(each.sum(axis=-1))


def draw_fisher(means: Points, kappa: float, num: int, rng: np.random.Generator) -> Points:
    """Draws from von Mises-Fisher laws of equal shares, by Wood's rejection.

    Args:
        means: Unit vectors, shape (M, D).
        kappa: Concentration of each.

    Returns:
        Unit vectors, shape (num, D).
    """
    mean = rng.choice(means, num)
    num_dims = means.shape[1]
    free = num_dims - 1
    b = free / (2 * kappa + math.sqrt(4 * kappa**2 + free**2))
    x0 = (1 - b) / (1 + b)
    c = kappa * x0 + free * math.log(1 - x0**2)
    along = np.full(num, np.nan)
    while (left := np.isnan(along)).any():
        z = rng.beta(free / 2, free / 2, int(left.sum()))
        w = (1 - (1 + b) * z) / (1 - (1 - b) * z)
        taken = kappa * w + free * np.log(1 - x0 * w) - c >= np.log(rng.random(len(w)))
        along[left] = np.where(taken, w, np.nan)
    across = rng.standard_normal((num, num_dims))
    across -= (across * mean).sum(axis=1, keepdims=True) * mean
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    w = along[:, None]
    return np.asarray(w * mean + np.sqrt(1 - w**2) * across)


def _log_fisher(x: Points, means: Points, kappa: float) -> Points:
    """Log-densities under each of the laws, shape (N, M)."""
    num_dims = means.shape[1]
    order = num_dims / 2 - 1
    # ln C = order ln kappa - (D / 2) ln 2 pi - ln I_order(kappa), the last by its series.
    terms = [
        (2 * k + order) * math.log(kappa / 2) - math.lgamma(k + 1) - math.lgamma(k + order + 1)
        for k in range(int(kappa) + 60)
    ]
    log_bessel = float(np.logaddexp.reduce(terms))
    constant = order * math.log(kappa) - num_dims / 2 * math.log(2 * math.pi) - log_bessel
    return np.asarray(constant + kappa * x @ means.T)


def _log_mean_exp(values: Points) -> Points:
    return np.asarray(np.logaddexp.reduce(values, axis=1) - math.log(values.shape[1]))


def _splits(draw: Any, seed: int) -> DataSplits:
    rng = np.random.Generator(np.random.PCG64(seed))
    points = draw(NUM_TRAIN + NUM_VALIDATION + NUM_TEST, rng).astype(np.float32)
    train, validation, test = np.split(points, [NUM_TRAIN, NUM_TRAIN + NUM_VALIDATION])
    return DataSplits(train=Split(x=train), validation=Split(x=validation), test=Split(x=test))


def convert_earth(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
    """Places on earth as unit vectors: eight tenths to train, one to validate and one to test.

    Args:
        files: Path of a text file of latitudes and longitudes in degrees, a place a line.

    Yields:
        The three splits, float32, shape (3,).

    Raises:
        DataError: A line holds no place.
    """
    (path,) = files.values()
    places = np.array(list(_places(path)), dtype=np.float64).reshape(-1, 2)
    if len(places) < EARTH_PARTS:
        raise DataError(f"{path} has {len(places)} places, expected {EARTH_PARTS} or more")
    latitude, longitude = np.radians(places).T
    points = np.stack(
        [
            np.cos(latitude) * np.cos(longitude),
            np.cos(latitude) * np.sin(longitude),
            np.sin(latitude),
        ],
        axis=1,
    ).astype(np.float32)
    order = np.random.RandomState(EARTH_SEED).permutation(len(points))
    part = len(points) // EARTH_PARTS
    test, validation, train = np.split(points[order], [part, 2 * part])
    yield "train", Split(x=train)
    yield "validation", Split(x=validation)
    yield "test", Split(x=test)


def _places(path: Path) -> Iterator[tuple[float, float]]:
    """Latitude and longitude of each line; lines before the first place are headings.

    Raises:
        DataError: A line after the first place holds none, or one beyond the poles.
    """
    begun = False
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        cells = line.replace(",", " ").split()
        try:
            latitude, longitude = map(float, cells[:2])
        except ValueError:
            if not begun or not cells:
                continue
            raise DataError(
                f"line {number} of {path} is {line[:40]!r}, expected latitude and longitude in "
                "degrees; fetch it again"
            ) from None
        if not (abs(latitude) <= 90 and abs(longitude) <= 360):
            raise DataError(
                f"line {number} of {path} is {line[:40]!r}: no latitude within 90 and longitude "
                "within 360 degrees; is it the other way round?"
            )
        begun = True
        yield latitude, longitude
