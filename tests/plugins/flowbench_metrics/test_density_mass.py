from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flowbench.api import MetricSettings, MetricValue
from flowbench_metrics.density_mass import bounds, compute, grid
from tests.plugins.flowbench_metrics.fakes import BuildResult, FakeTrained
from tests.plugins.flowbench_metrics.images import splits_of

LogDensity = Callable[[NDArray[Any]], NDArray[Any]]
POINTS = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)


def measure(
    trained: type[FakeTrained], result: BuildResult, log_density: LogDensity, **kind: Any
) -> MetricValue:
    kind = {"measure": "continuous", **kind}
    given = trained(result=result(np.zeros(4), **kind), log_prob=log_density)
    (value,) = compute(given, splits_of(POINTS, POINTS[:9]), MetricSettings())
    return value


def gaussian(x: NDArray[Any], std: float = 1.0) -> NDArray[Any]:
    squares = np.square(x.astype(float)).sum(axis=1) / std**2
    return np.asarray(-0.5 * squares - math.log(2.0 * math.pi * std**2))


@pytest.mark.parametrize("std", [0.05, 1.0])
def test_a_gaussian_has_mass_one(
    trained: type[FakeTrained], result: BuildResult, std: float
) -> None:
    value = measure(trained, result, lambda x: gaussian(x, std))
    assert value.value == pytest.approx(1.0, abs=1e-4)
    assert value.direction == "none"


def test_a_wrong_determinant_shows(trained: type[FakeTrained], result: BuildResult) -> None:
    value = measure(trained, result, lambda x: gaussian(x) + math.log(1.3))
    assert value.value == pytest.approx(1.3, abs=1e-3)


def test_mass_far_from_the_data_is_missing(trained: type[FakeTrained], result: BuildResult) -> None:
    value = measure(trained, result, lambda x: gaussian(x + 100.0))
    assert value.value == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    "kind", [{"noise": "weights", "bound": True}, {"noise": "estimates"}, {"measure": "noisy"}]
)
def test_what_is_no_density_has_no_mass(
    trained: type[FakeTrained], result: BuildResult, kind: dict[str, Any]
) -> None:
    assert measure(trained, result, gaussian, **kind).status == "unavailable"


def test_the_grid_covers_the_box_and_its_margin() -> None:
    low, high = bounds(np.array([[0.0, 1.0]]), np.array([[4.0, 1.0]]))
    assert (low[0], high[0]) == (-2.0, 6.0)
    points, cell = grid(np.array([0.0, 0.0]), np.array([1.0, 2.0]), np.dtype(np.float32))
    assert cell * len(points) == pytest.approx(2.0)
    np.testing.assert_allclose(points.mean(axis=0), [0.5, 1.0], rtol=1e-4)
    assert points.dtype == np.float32
