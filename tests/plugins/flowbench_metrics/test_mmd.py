from __future__ import annotations

import math

import numpy as np
import pytest

from flowbench.api import MetricSettings
from flowbench_metrics.mmd import compute, median_distance, mmd_squared
from tests.plugins.flowbench_metrics.fakes import FakeTrained, number
from tests.plugins.flowbench_metrics.images import samples_of, splits_of

RNG = np.random.default_rng(0)


def test_two_pairs_of_points_by_hand() -> None:
    x, y = np.array([[0.0], [1.0]]), np.array([[2.0], [4.0]])

    def k(distance: float) -> float:
        return math.exp(-(distance**2) / 8.0)

    across = 2.0 * (k(2) + k(4) + k(1) + k(3)) / 4.0
    biased = (2.0 + 2.0 * k(1) + 2.0 + 2.0 * k(2)) / 4.0 - across
    unbiased = k(1) + k(2) - across
    assert mmd_squared(x, y, 2.0) == pytest.approx((biased, unbiased), rel=1e-12)


def test_two_gaussians() -> None:
    # E k of a difference with variance v and mean m is s / sqrt(s^2 + v) exp(-m^2 / 2 (s^2 + v)).
    s, m = 1.5, 2.0
    x, y = RNG.normal(size=(2, 3_000, 1))
    spread = s**2 + 2.0
    expected = 2.0 * s / math.sqrt(spread) * (1.0 - math.exp(-(m**2) / (2.0 * spread)))
    assert mmd_squared(x + m, y, s)[1] == pytest.approx(expected, rel=0.05)
    assert mmd_squared(x, y, s)[1] == pytest.approx(0.0, abs=1e-3)


def test_a_set_against_itself() -> None:
    x = RNG.normal(size=(30, 2))
    assert mmd_squared(x, x, 1.0)[0] == pytest.approx(0.0, abs=1e-12)


def test_the_median_is_over_pairs() -> None:
    assert median_distance(np.array([[0.0], [1.0], [10.0]])) == 9.0


def test_values(trained: type[FakeTrained]) -> None:
    x = RNG.normal(size=(60, 2))
    given = trained(samples=samples_of(x[:30] + 50.0))
    values = {v.name: v for v in compute(given, splits_of(x, x), MetricSettings())}
    own, squared = values["mmd"], values["mmd_squared"]
    assert own.value == pytest.approx(math.sqrt(number(squared)), rel=0.05)
    assert own.protocol["bandwidth"] == pytest.approx(median_distance(x))
    assert (own.num_examples, own.split) == (30, "test")
    same = np.zeros((9, 2))
    (value,) = compute(trained(samples=samples_of(x)), splits_of(same, same), MetricSettings())
    assert value.status == "unavailable"
