"""Fixtures for tests of metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flowbench.api import DataSplits, Likelihood, LikelihoodResult, MetricSettings, Split
from tests.plugins.flowbench_metrics.fakes import BuildResult, Clock, FakeTrained


@pytest.fixture
def trained() -> type[FakeTrained]:
    return FakeTrained


@pytest.fixture
def settings() -> MetricSettings:
    return MetricSettings(seed=5)


@pytest.fixture
def splits() -> DataSplits:
    rng = np.random.default_rng(0)
    return DataSplits(
        train=Split(x=rng.normal(size=(8, 3))),
        validation=Split(x=rng.normal(size=(2, 3))),
        test=Split(x=rng.normal(size=(4, 3))),
    )


@pytest.fixture
def result() -> BuildResult:
    def build(
        log_prob: Any,
        elbo: Any = None,
        *,
        num_dims: int = 3,
        draw_stderr: float | None = None,
        **kind: Any,
    ) -> LikelihoodResult:
        log_prob = np.asarray(log_prob, dtype=np.float64)
        return LikelihoodResult(
            log_prob=log_prob,
            elbo=log_prob if elbo is None else np.asarray(elbo, dtype=np.float64),
            draw_stderr=draw_stderr,
            likelihood=Likelihood(**{"measure": "discrete", **kind}),
            num_dims=num_dims,
            split="test",
        )

    return build


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr("time.perf_counter", fake)
    return fake
