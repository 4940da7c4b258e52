from __future__ import annotations

import math

import numpy as np
import pytest

from flowbench.api import MetricSettings
from flowbench_metrics.c2st import compute, held_out_accuracy
from tests.plugins.flowbench_metrics.fakes import FakeTrained
from tests.plugins.flowbench_metrics.images import samples_of, splits_of

RNG = np.random.default_rng(0)


def test_one_distribution_cannot_be_told_apart() -> None:
    x, y = RNG.normal(size=(2, 400, 2))
    assert held_out_accuracy(x, y, 0) == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 800))


def test_the_best_classifier_of_two_gaussians() -> None:
    # At unit variance and distance d no classifier is right more often than Phi(d / 2).
    x, y = RNG.normal(size=(2, 600, 2))
    best = 0.5 * (1.0 + math.erf(1.0 / math.sqrt(2.0)))
    given = held_out_accuracy(x + np.array([2.0, 0.0]), y, 0)
    assert given == pytest.approx(best, abs=0.03)


def test_the_value_and_its_error(trained: type[FakeTrained]) -> None:
    x = RNG.normal(size=(50, 2))
    given = trained(samples=samples_of(x + 100.0))
    (value,) = compute(given, splits_of(x, x), MetricSettings())
    assert (value.value, value.stderr, value.num_examples) == (1.0, 0.0, 100)
    assert {"folds": 5, "num_each": 50}.items() <= value.protocol.items()


def test_too_few_and_not_finite(trained: type[FakeTrained]) -> None:
    x = RNG.normal(size=(4, 2))
    (value,) = compute(trained(samples=samples_of(x)), splits_of(x, x), MetricSettings())
    assert (value.status, value.value) == ("unavailable", None)
    (value,) = compute(trained(samples=samples_of(x * np.nan)), splits_of(x, x), MetricSettings())
    assert (value.status, value.reason) == ("failed", "4 of 4 samples are not finite")
