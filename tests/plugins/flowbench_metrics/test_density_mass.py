from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flowbench.api import MetricSettings, MetricValue, NotInvertibleError, Samples
from flowbench_metrics.density_mass import compute
from tests.plugins.flowbench_metrics.fakes import BuildResult, FakeTrained
from tests.plugins.flowbench_metrics.images import splits_of

LogDensity = Callable[[NDArray[Any]], NDArray[Any]]
POINTS = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)


def measure(
    trained: type[FakeTrained],
    result: BuildResult,
    log_density: LogDensity,
    samples: NDArray[Any] = POINTS,
    **kind: Any,
) -> MetricValue:
    kind = {"measure": "continuous", **kind}
    drawn = Samples(x=samples, context={}, num_clipped=0, num_nonfinite=0, temperature=1.0, seed=0)
    given = trained(result=result(np.zeros(4), **kind), log_prob=log_density, samples=drawn)
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
    assert value.value == pytest.approx(1.0, abs=0.003)
    assert value.direction == "none"
    assert value.stderr is not None
    assert value.stderr < 0.001


def test_a_wrong_determinant_shows(trained: type[FakeTrained], result: BuildResult) -> None:
    value = measure(trained, result, lambda x: gaussian(x) + math.log(1.3))
    assert value.value == pytest.approx(1.3, abs=0.003)


def test_the_mass_of_heavy_tails_is_not_missing(
    trained: type[FakeTrained], result: BuildResult
) -> None:
    def cauchy(x: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(-math.log(math.tau) - 1.5 * np.log1p(np.square(x).sum(axis=1)))

    value = measure(trained, result, cauchy)
    assert value.value == pytest.approx(1.0, abs=0.003)


def test_mass_far_from_the_data_is_found_where_samples_lie(
    trained: type[FakeTrained], result: BuildResult
) -> None:
    value = measure(trained, result, lambda x: gaussian(x + 100.0), samples=POINTS - 100.0)
    assert value.value == pytest.approx(1.0, abs=0.003)


def test_a_model_without_an_inverse_is_integrated_around_the_data(
    trained: type[FakeTrained], result: BuildResult
) -> None:
    class Mute(trained):  # type: ignore[misc,valid-type]
        def samples(self, *_: Any) -> Samples:
            raise NotInvertibleError("no inverse")

    value = measure(Mute, result, gaussian)
    assert value.value == pytest.approx(1.0, abs=0.003)


@pytest.mark.parametrize(
    "kind",
    [
        {"noise": "weights", "bound": True},
        {"bound": True},
        {"noise": "estimates"},
        {"measure": "noisy"},
    ],
)
def test_what_is_no_density_has_no_mass(
    trained: type[FakeTrained], result: BuildResult, kind: dict[str, Any]
) -> None:
    assert measure(trained, result, gaussian, **kind).status == "unavailable"


def test_a_conditional_density_has_no_one_mass(
    trained: type[FakeTrained], result: BuildResult
) -> None:
    value = measure(trained, result, gaussian, given=("label",))
    assert value.status == "unavailable"
    assert "given label" in (value.reason or "")
