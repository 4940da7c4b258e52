from __future__ import annotations

import numpy as np

from flowbench.api import MetricSettings
from flowbench_metrics.vector_sets import pick, samples_and_test
from tests.plugins.flowbench_metrics.fakes import FakeTrained
from tests.plugins.flowbench_metrics.images import samples_of, splits_of

RNG = np.random.default_rng(0)


def test_what_is_picked_does_not_depend_on_the_order() -> None:
    x = RNG.normal(size=(50, 3))
    first = pick(x, 20, np.random.default_rng(1))
    again = pick(x[RNG.permutation(50)], 20, np.random.default_rng(1))
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first, axis=0)) == 20


def test_as_many_test_examples_as_samples(trained: type[FakeTrained]) -> None:
    test = RNG.normal(size=(40, 2))
    given, splits = trained(samples=samples_of(RNG.normal(size=(30, 2)))), splits_of(test, test)
    sets = samples_and_test(given, splits, MetricSettings(), most=1_000)
    assert [len(rows) for rows in sets] == [30, 30]
    assert {tuple(row) for row in sets[1]} <= {tuple(row) for row in test}
    sets = samples_and_test(given, splits, MetricSettings(), most=7)
    assert [len(rows) for rows in sets] == [7, 7]


def test_samples_that_are_not_finite_are_no_samples(trained: type[FakeTrained]) -> None:
    x = RNG.normal(size=(30, 2))
    x[3, 1], x[9, 0] = np.nan, np.inf
    reason = samples_and_test(trained(samples=samples_of(x)), splits_of(x, x), MetricSettings(), 99)
    assert reason == "2 of 30 samples are not finite"
