from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flowbench.api import DataSplits
from flowbench.data.library.content import content_hash
from flowbench_datasets import planar
from flowbench_datasets.planar import Points
from flowbench_datasets.planar_densities import (
    checkerboard_log_density,
    eight_gaussians_log_density,
    two_moons_log_density,
)
from flowbench_datasets.specs import PLANAR

LOADERS = [
    planar.load_two_moons,
    planar.load_checkerboard,
    planar.load_eight_gaussians,
    planar.load_pinwheel,
]
STATED_ENTROPY = {"two-moons": 2.394, "checkerboard": 3.466, "eight-gaussians": 2.832}
WITH_DENSITY = [
    ("two-moons", planar.load_two_moons, two_moons_log_density),
    ("checkerboard", planar.load_checkerboard, checkerboard_log_density),
    ("eight-gaussians", planar.load_eight_gaussians, eight_gaussians_log_density),
]

Density = Callable[[Points], Points]
Loader = Callable[[Path], DataSplits]


def grid(step: float = 0.1, half: float = 5.6) -> Points:
    line = np.arange(-half, half, step) + step / 2
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("loader", LOADERS)
def test_loading_twice_gives_the_same_points(loader: Loader) -> None:
    splits = loader(Path("unused"))
    assert content_hash(splits) == content_hash(loader(Path("unused")))
    assert splits.train.x.dtype == np.float32


@pytest.mark.parametrize(("name", "loader", "log_density"), WITH_DENSITY)
def test_densities_integrate_to_one_and_have_the_stated_entropy(
    name: str, loader: Loader, log_density: Density
) -> None:
    step = 0.1
    points = grid(step)
    log_p = log_density(points)
    p = np.exp(log_p)
    assert p.sum() * step**2 == pytest.approx(1.0, abs=1e-6)
    entropy = -(p[p > 0] * log_p[p > 0]).sum() * step**2
    assert entropy == pytest.approx(STATED_ENTROPY[name], abs=6e-4)
    (spec,) = (spec for spec in PLANAR if spec.name == name)
    assert f"{STATED_ENTROPY[name]} nats" in spec.notes


@pytest.mark.parametrize(("name", "loader", "log_density"), WITH_DENSITY)
def test_points_follow_their_density(name: str, loader: Loader, log_density: Density) -> None:
    points = loader(Path("unused")).train.x.astype(np.float64)
    log_p = log_density(points)
    stderr = log_p.std() / math.sqrt(len(log_p))
    assert abs(-log_p.mean() - STATED_ENTROPY[name]) < 4 * stderr + 6e-4
    observed, x_edges, y_edges = np.histogram2d(
        points[:, 0], points[:, 1], bins=14, range=[[-5.6, 5.6]] * 2
    )
    fine = grid()
    weights = np.exp(log_density(fine)) * 0.1**2
    expected, *_ = np.histogram2d(fine[:, 0], fine[:, 1], bins=[x_edges, y_edges], weights=weights)
    expected = expected * len(points)
    spread = np.sqrt(np.maximum(expected, 1.0))
    assert (np.abs(observed - expected) < 5 * spread + 1).all()


def test_the_label_of_a_moon_is_its_half_circle() -> None:
    train = planar.load_two_moons(Path("unused")).train
    label = train.context["label"]
    assert (label.dtype, label.shape) == (np.dtype(np.int64), (20_000,))
    assert abs(label.mean() - 0.5) < 0.02
    centred = (train.x - planar.MOON_SHIFT) / planar.MOON_SCALE
    # Distances to the two centres tell the arcs apart, but for points within the noise of both.
    to_upper = np.abs(np.linalg.norm(centred, axis=1) - 1.0)
    to_lower = np.abs(np.linalg.norm(centred - np.array([1.0, 0.5]), axis=1) - 1.0)
    assert ((to_upper < to_lower) == (label == 1)).mean() > 0.9


def test_off_the_board_the_density_is_zero() -> None:
    outside = np.array([[-3.0, -1.0], [5.0, 5.0], [-5.0, 1.0]])
    assert checkerboard_log_density(outside).tolist() == [-math.inf] * 3
    assert checkerboard_log_density(np.array([[1.0, 1.0]]))[0] == pytest.approx(-math.log(32))


def test_the_pinwheel_unbends_into_its_gaussian_arms() -> None:
    points = planar.pinwheel(50_000, np.random.default_rng(0)) / planar.ARM_SCALE
    radius = np.linalg.norm(points, axis=1)
    # Turning leaves the radius: E r^2 = 1 + 0.3^2 + 0.1^2, by the arm's moments.
    assert np.square(radius).mean() == pytest.approx(1.10, abs=4 * 0.62 / math.sqrt(50_000))
    # Unbent (the distance along the arm is the radius to within 0.1^2 / 2), five arms are left.
    angle = np.arctan2(points[:, 1], points[:, 0]) - planar.ARM_RATE * np.exp(radius)
    concentration = np.abs(np.exp(1j * planar.NUM_ARMS * angle).mean())
    assert concentration > 0.7
    bent = np.abs(np.exp(1j * planar.NUM_ARMS * np.arctan2(points[:, 1], points[:, 0])).mean())
    assert bent < concentration
