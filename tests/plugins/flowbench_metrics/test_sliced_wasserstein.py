from __future__ import annotations

import math

import numpy as np
import pytest

from flowbench.api import MetricSettings
from flowbench_metrics import sliced_wasserstein as module
from flowbench_metrics.sliced_wasserstein import compute, directions, sliced_wasserstein
from tests.plugins.flowbench_metrics.fakes import FakeTrained
from tests.plugins.flowbench_metrics.images import samples_of, splits_of

RNG = np.random.default_rng(0)


def test_a_shift_of_one_dimension_is_its_length() -> None:
    x = RNG.normal(size=(40, 1))
    assert sliced_wasserstein(x, x + 3.0, directions(1)) == pytest.approx(3.0)


@pytest.mark.parametrize("num_dims", [2, 6])
def test_a_shift_is_its_length_over_the_root_of_the_dims(num_dims: int) -> None:
    x = RNG.normal(size=(40, num_dims))
    step = np.full(num_dims, 2.0)
    expected = np.linalg.norm(step) / math.sqrt(num_dims)
    given = sliced_wasserstein(x, x + step, directions(num_dims))
    assert given == pytest.approx(expected, rel=0.1)  # 500 directions


def test_along_the_axes_it_is_exact() -> None:
    x, y = RNG.normal(size=(2, 50, 2))
    squares = np.square(np.sort(x, axis=0) - np.sort(y, axis=0)).mean()
    assert sliced_wasserstein(x, y, np.eye(2)) == pytest.approx(math.sqrt(squares), rel=1e-12)


def test_two_gaussians_of_different_width() -> None:
    x, y = RNG.normal(size=(2, 20_000, 2))
    assert sliced_wasserstein(3.0 * x, y, directions(2)[:50]) == pytest.approx(2.0, rel=0.02)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = RNG.normal(size=(2, 30, 3))
    whole = sliced_wasserstein(x, y, directions(3))
    monkeypatch.setattr(module, "CHUNK_VALUES", 100)
    assert sliced_wasserstein(x, y, directions(3)) == pytest.approx(whole, rel=1e-12)


def test_the_value(trained: type[FakeTrained]) -> None:
    x = RNG.normal(size=(30, 2))
    given = trained(samples=samples_of(x))
    (value,) = compute(given, splits_of(x, x[::-1]), MetricSettings())
    assert value.value == pytest.approx(0.0, abs=1e-12)
    assert value.num_examples == 30
    assert {"order": 2, "directions": 500}.items() <= value.protocol.items()
