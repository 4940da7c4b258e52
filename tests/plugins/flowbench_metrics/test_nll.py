from __future__ import annotations

import math

import numpy as np
import pytest

from flowbench.api import DataSplits, MetricSettings
from flowbench_metrics.nll import compute
from tests.plugins.flowbench_metrics.fakes import BuildResult, FakeTrained, number


def test_a_standard_normals_entropy(
    trained: type[FakeTrained], result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    x = np.random.default_rng(0).standard_normal((200_000, 3))
    log_prob = -0.5 * (np.square(x).sum(axis=1) + 3 * math.log(2 * math.pi))
    (value,) = compute(trained(result=result(log_prob, measure="continuous")), splits, settings)
    entropy = 1.5 * math.log(2 * math.pi * math.e)
    assert value.stderr == pytest.approx(math.sqrt(1.5 / 200_000), rel=0.01)
    assert value.stderr is not None
    assert abs(number(value) - entropy) < 4 * value.stderr
    assert (value.name, value.unit, value.num_examples) == ("nll", "nats", 200_000)


def test_a_bound_also_has_an_elbo(
    trained: type[FakeTrained], result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    given = result(
        [-1.0, -2.0],
        elbo=[-2.0, -4.0],
        measure="continuous",
        noise="weights",
        bound=True,
        draw_stderr=0.2,
    )
    values = {value.name: value.value for value in compute(trained(result=given), splits, settings)}
    assert values == {"nll": 1.5, "nll_elbo": 3.0, "nll_draw_stderr": 0.2}


def test_noisy_data_have_no_nll(
    trained: type[FakeTrained], result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    given = result([-2.0, -4.0], measure="noisy")
    nll, nll_noisy = compute(trained(result=given), splits, settings)
    assert (nll.name, nll.status) == ("nll", "unavailable")
    assert (nll_noisy.name, nll_noisy.value) == ("nll_noisy", 3.0)
