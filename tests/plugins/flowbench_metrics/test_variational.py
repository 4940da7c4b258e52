from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from flowbench.api import Samples, SampleSettings, Target
from flowbench_metrics import variational
from flowbench_metrics.specs import ELBO
from tests.plugins.flowbench_metrics.fakes import INFO, FakeTrained, number

STD = 1.3  # of the model; the target is a standard normal times e^2
TRUTH = 2.0 + 1.5 * math.log(2 * math.pi)


class Gaussian(FakeTrained):
    """Draws N(0, STD^2) in three dims."""

    def __init__(self, std: float = STD, truth: float | None = TRUTH) -> None:
        super().__init__(data=replace(INFO, target=Target(log_density="", log_normaliser=truth)))
        self.std = std

    def samples(self, num: int | None = None, settings: SampleSettings | None = None) -> Samples:
        assert num is not None
        assert settings == SampleSettings()
        x = self.std * np.random.default_rng(0).standard_normal((num, 3))
        return Samples(x=x, context={}, num_clipped=0, num_nonfinite=0, temperature=1.0, seed=0)

    def log_prob(
        self, x: NDArray[Any], context: Mapping[str, NDArray[Any]] | None = None
    ) -> NDArray[np.float64]:
        squares = np.square(x / self.std).sum(axis=1)
        log_prob: NDArray[np.float64] = -0.5 * (squares + 3 * math.log(2 * math.pi * self.std**2))
        return log_prob

    def log_density(self, x: NDArray[Any]) -> NDArray[np.float64]:
        log_density: NDArray[np.float64] = 2.0 - 0.5 * np.square(x).sum(axis=1)
        return log_density


def measured(trained: FakeTrained) -> dict[str, Any]:
    computed = (
        variational.elbo,
        variational.log_normaliser,
        variational.log_normaliser_error,
        variational.effective_samples,
    )
    return {v.name: v for compute in computed for v in compute(trained, None, None)}  # type: ignore[arg-type]


def test_of_a_gaussian_all_values_are_those_worked_out_by_hand() -> None:
    values = measured(Gaussian())
    divergence = 3 * (0.5 * (STD**2 - 1) - math.log(STD))  # of N(0, s^2) from N(0, 1)
    gap = values["elbo_gap"]
    assert abs(number(gap) - divergence) < 4 * gap.stderr
    assert number(values["elbo"]) + number(gap) == pytest.approx(TRUTH)
    estimate, error = values["log_normaliser"], values["log_normaliser_error"]
    assert abs(number(estimate) - TRUTH) < 4 * estimate.stderr
    assert number(error) == pytest.approx(abs(number(estimate) - TRUTH))
    assert number(values["log_normaliser_stderr"]) == estimate.stderr == error.stderr
    # E[w]^2 / E[w^2] with weights exp(-r^2 (1 - 1 / s^2) / 2), r^2 = s^2 chi^2_3
    share = ((2 * STD**2 - 1) / STD**4) ** 1.5
    assert number(values["effective_samples"]) == pytest.approx(share, rel=0.03)


def test_a_model_that_is_its_target_is_exact() -> None:
    values = measured(Gaussian(std=1.0))
    assert number(values["elbo_gap"]) == pytest.approx(0.0, abs=1e-12)
    assert number(values["log_normaliser"]) == pytest.approx(TRUTH)
    assert number(values["effective_samples"]) == pytest.approx(1.0)
    assert values["log_normaliser"].stderr == pytest.approx(0.0, abs=1e-6)


def test_without_a_known_truth_there_is_an_estimate_and_no_error() -> None:
    values = measured(Gaussian(truth=None))
    assert "elbo_gap" not in values
    assert number(values["log_normaliser"]) == pytest.approx(TRUTH, abs=0.1)
    assert values["log_normaliser_error"].status == "unavailable"


def test_a_density_that_is_not_that_of_the_samples_is_refuted() -> None:
    class Understated(Gaussian):
        def log_prob(self, x: NDArray[Any], context: Any = None) -> NDArray[np.float64]:
            return super().log_prob(x) - 1.0

    gap = measured(Understated())["elbo_gap"]
    assert ELBO.refutation(gap) is not None
    assert ELBO.refutation(measured(Gaussian())["elbo_gap"]) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_samples_without_a_weight_are_a_failure_that_counts_them(bad: float) -> None:
    class Broken(Gaussian):
        def log_density(self, x: NDArray[Any]) -> NDArray[np.float64]:
            found = super().log_density(x)
            found[:3] = bad
            return found

    with np.errstate(invalid="ignore"):
        values = measured(Broken())
    assert {v.status for v in values.values()} == {"failed"}
    assert "3 of 16384 samples have no weight" in values["elbo"].reason


def test_draws_off_the_target_weigh_nothing() -> None:
    class Bounded(Gaussian):
        def log_density(self, x: NDArray[Any]) -> NDArray[np.float64]:
            return np.where(x[:, 0] > 0, super().log_density(x), -math.inf)

    with np.errstate(invalid="ignore"):
        values = measured(Bounded())
    estimate = values["log_normaliser"]
    assert abs(number(estimate) - (TRUTH - math.log(2))) < 4 * estimate.stderr
