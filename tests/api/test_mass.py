from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp

from flowbench.api import Mass, ShapeError, density_mass
from flowbench.errors import ContractError

Points = NDArray[np.float64]
Density = Callable[[Points], Points]
Draw = Callable[[np.random.Generator], Points]


def normals(means: Any, std: float) -> Density:
    centres = np.asarray(means, dtype=float)

    def log_prob(x: Points) -> Points:
        squares = np.square(x[:, None] - centres).sum(axis=-1) / std**2
        constant = math.log(len(centres)) + centres.shape[1] * math.log(std * math.tau**0.5)
        return np.asarray(logsumexp(-0.5 * squares, axis=1) - constant)

    return log_prob


def student(freedom: float) -> Density:
    def log_prob(x: Points) -> Points:
        half = (freedom + 2) / 2
        constant = math.lgamma(half) - math.lgamma(freedom / 2) - math.log(freedom * math.pi)
        values: Points = constant - half * np.log1p(np.square(x).sum(axis=1) / freedom)
        return values

    return log_prob


def checkerboard(x: Points) -> Points:
    cells = np.floor(x).astype(int).sum(axis=1)
    inside = (np.abs(x) < 2).all(axis=1) & (cells % 2 == 0)
    return np.where(inside, -math.log(8), -np.inf)


def draw_normals(means: Any, std: float, rng: np.random.Generator) -> Points:
    centres = np.asarray(means, dtype=float)
    noise = std * rng.normal(size=(4096, centres.shape[1]))
    return np.asarray(centres[rng.integers(len(centres), size=4096)] + noise)


def draw_student(freedom: float, rng: np.random.Generator) -> Points:
    scale = np.sqrt(rng.chisquare(freedom, size=(4096, 1)) / freedom)
    return np.asarray(rng.normal(size=(4096, 2)) / scale)


def draw_checkerboard(rng: np.random.Generator) -> Points:
    x = rng.uniform(-2, 2, size=(8192, 2))
    return np.asarray(x[np.isfinite(checkerboard(x))])


GRID = [[i, j] for i in range(5) for j in range(5)]
_NORMALS: tuple[tuple[Any, float], ...] = (
    ([[0.0, 0.0]], 1.0),
    ([[1e6, -1e6]], 0.01),
    ([[0.0, 0.0], [1000.0, 0.0]], 0.01),
    (GRID, 1e-4),
    ([[0.0]], 1.0),
    ([[0.0, 1.0, 2.0]], 1.0),
)
CASES: dict[str, tuple[Density, Draw]] = {"checkerboard": (checkerboard, draw_checkerboard)}
CASES |= {
    f"normals of std {std} at {len(means)}, {i}": (
        normals(means, std),
        partial(draw_normals, means, std),
    )
    for i, (means, std) in enumerate(_NORMALS)
}
CASES |= {
    f"student {freedom}": (student(freedom), partial(draw_student, freedom))
    for freedom in (0.5, 1.0, 3.0)
}


@pytest.mark.parametrize("name", CASES)
def test_a_density_has_mass_one_whatever_its_shape(name: str) -> None:
    log_prob, draw = CASES[name]
    rng = np.random.default_rng(0)
    mass: Mass = density_mass(log_prob, draw(rng), rng)
    assert mass.stderr < 0.015
    assert mass.num_points < 90_000
    assert abs(mass.value - 1) < max(0.01, 4 * mass.stderr)


@pytest.mark.parametrize("factor", [0.9, 1.02, math.e])
def test_a_wrong_constant_shows(factor: float) -> None:
    rng = np.random.default_rng(1)
    log_prob = normals([[0.0, 0.0]], 1.0)
    points = draw_normals([[0.0, 0.0]], 1.0, rng)
    mass = density_mass(lambda x: log_prob(x) + math.log(factor), points, rng)
    assert mass.value == pytest.approx(factor, abs=4 * mass.stderr)
    assert abs(mass.value - 1) > max(0.01, 5 * mass.stderr)


def test_errors_are_as_large_as_the_values_spread() -> None:
    log_prob, draw = CASES["student 1.0"]
    rngs = [np.random.default_rng(seed) for seed in range(30)]
    masses = [density_mass(log_prob, draw(rng), rng, num_cells=512) for rng in rngs]
    scores = [(mass.value - 1) / mass.stderr for mass in masses]
    assert 0.6 < np.std(scores) < 1.6
    assert abs(np.mean(scores)) < 4 / math.sqrt(len(scores))


def test_so_they_are_in_more_dims() -> None:
    """Where few points are known in a box, those of boxes that were left whole look too alike."""
    scores = []
    for num_dims in (4, 5, 6):
        log_prob = normals([[0.0] * num_dims], 1.0)
        for seed in range(9):
            rng = np.random.default_rng(seed)
            points = rng.normal(size=(300, num_dims))
            mass = density_mass(log_prob, points, rng, num_cells=2048)
            scores.append((mass.value - 1) / mass.stderr)
    assert 0.6 < float(np.sqrt(np.mean(np.square(scores)))) < 1.3


def test_peaks_that_cannot_be_resolved_leave_a_large_error() -> None:
    rng = np.random.default_rng(2)
    means = rng.normal(size=(100, 2))
    log_prob, points = normals(means, 1e-6), draw_normals(means, 1e-6, rng)
    mass = density_mass(log_prob, points, rng, num_cells=512)
    assert abs(mass.value - 1) < 5 * mass.stderr
    assert mass.stderr > 0.1


def test_what_is_not_a_number_counts_as_nothing_and_infinity_is_told() -> None:
    rng = np.random.default_rng(3)
    points = draw_normals([[0.0, 0.0]], 1.0, rng)
    log_prob = normals([[0.0, 0.0]], 1.0)
    half = density_mass(lambda x: np.where(x[:, 0] > 0, log_prob(x), np.nan), points, rng)
    assert half.value == pytest.approx(0.5, abs=0.01)
    with pytest.raises(ContractError, match="infinite at some points"):
        density_mass(lambda x: np.where(x[:, 0] > 0, log_prob(x), np.inf), points, rng)


@pytest.mark.parametrize("points", [np.zeros(5), np.zeros((0, 2)), np.full((3, 2), np.nan)])
def test_points_are_finite_rows(points: Points) -> None:
    with pytest.raises(ShapeError, match="give finite rows"):
        density_mass(checkerboard, points, np.random.default_rng(0))
