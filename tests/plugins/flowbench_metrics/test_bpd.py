from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest

from flowbench.api import DatasetInfo, DataSplits, LikelihoodResult, MetricSettings, ModelConfig
from flowbench.api.specs import SplitName
from flowbench.evaluation.values import checked_values
from flowbench_metrics.bpd import compute, compute_given_label
from flowbench_metrics.specs import BPD, BPD_GIVEN_LABEL
from tests.plugins.flowbench_metrics.fakes import BuildResult, FakeTrained


def by_name(values: list[Any]) -> dict[str, Any]:
    return {value.name: value for value in values}


def test_a_uniform_model_of_256_levels_has_8_bits(
    trained: type[FakeTrained], result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    log_prob = np.full(10, -12 * math.log(256))
    values = by_name(compute(trained(result=result(log_prob, num_dims=12)), splits, settings))
    assert values["bpd"].value == pytest.approx(8.0, rel=1e-12)
    assert values["bpd"].stderr == pytest.approx(0.0, abs=1e-12)
    assert (values["bpd"].unit, values["bpd"].direction) == ("bits/dim", "lower")
    assert (values["bpd"].split, values["bpd"].num_examples) == ("test", 10)


def test_mean_and_standard_error_of_two_examples(
    trained: type[FakeTrained], result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    log_prob = -3 * math.log(2) * np.array([1.0, 4.0])  # 1 and 4 bits/dim
    values = by_name(compute(trained(result=result(log_prob)), splits, settings))
    assert values["bpd"].value == pytest.approx(2.5)
    assert values["bpd"].stderr == pytest.approx(1.5)  # half the difference


def test_the_bound_and_its_draws(
    trained: type[FakeTrained], result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    given = result(
        [-2.0, -4.0],
        elbo=[-3.0, -5.0],
        draw_stderr=0.3,
        noise="weights",
        bound=True,
        dequantization="uniform",
        draws=16,
    )
    values = by_name(compute(trained(result=given), splits, settings))
    unit = 3 * math.log(2)
    assert values["bpd"].value == pytest.approx(3.0 / unit)
    assert values["bpd_elbo"].value == pytest.approx(4.0 / unit)
    assert values["bpd_draw_stderr"].value == pytest.approx(0.3 / unit)
    assert values["bpd"].protocol == given.likelihood.model_dump(mode="json")
    assert values["bpd"].protocol["draws"] == 16


def test_one_draw_has_no_draw_error(
    trained: type[FakeTrained], result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    assert "bpd_draw_stderr" not in by_name(
        compute(trained(result=result([-1.0, -2.0])), splits, settings)
    )


def test_noisy_data_have_no_bpd(
    trained: type[FakeTrained], result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    given = result([-2.0, -4.0], measure="noisy")
    values = by_name(compute(trained(result=given), splits, settings))
    assert (values["bpd"].status, values["bpd"].value) == ("unavailable", None)
    assert "gaussian_noise" in values["bpd"].reason
    assert values["bpd_nll_noisy"].value == pytest.approx(3.0)
    assert values["bpd_nll_noisy"].unit == "nats"


def test_a_density_of_continuous_data_has_no_bpd(
    trained: type[FakeTrained], result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    (value,) = compute(trained(result=result([-2.0], measure="continuous")), splits, settings)
    assert (value.status, value.value) == ("unavailable", None)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_likelihood_that_is_not_finite_is_a_failure(
    bad: float,
    trained: type[FakeTrained],
    result: BuildResult,
    splits: DataSplits,
    settings: MetricSettings,
) -> None:
    given = result([-2.0, bad, -1.0])
    value = by_name(compute(trained(result=given), splits, settings))["bpd"]
    assert (value.status, value.value, value.stderr) == ("failed", None, None)
    assert "1 of 3 test examples" in value.reason


def test_one_example_has_no_standard_error(
    trained: type[FakeTrained], result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    value = by_name(compute(trained(result=result([-2.0])), splits, settings))["bpd"]
    assert value.value == pytest.approx(2 / (3 * math.log(2)))
    assert value.stderr is None


class ConfigWithLabels(ModelConfig):
    """Of a model that can be given the label."""

    def also_given(self, data: DatasetInfo) -> tuple[tuple[str, ...], ...]:
        return (("label",),)


class SeesLabels(FakeTrained):
    """A model whose likelihood without the label no one may ask for."""

    def likelihood(
        self, split: SplitName, given: tuple[str, ...] | None = None
    ) -> LikelihoodResult:
        assert (split, given) == ("test", ("label",))
        assert self.result is not None
        return self.result


def test_given_the_label_every_value_says_so(
    result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    given = result([-2.0, -4.0], elbo=[-3.0, -5.0], draw_stderr=0.3, given=("label",))
    values = by_name(
        compute_given_label(SeesLabels(config=ConfigWithLabels(), result=given), splits, settings)
    )
    unit = 3 * math.log(2)
    assert values["bpd_given_label"].value == pytest.approx(3.0 / unit)
    assert values["bpd_given_label_elbo"].value == pytest.approx(4.0 / unit)
    assert values["bpd_given_label_draw_stderr"].value == pytest.approx(0.3 / unit)
    assert [value.protocol["given"] for value in values.values()] == [["label"]] * 3


def test_given_the_label_noisy_data_have_an_nll(
    result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    given = result([-2.0, -4.0], measure="noisy", given=("label",))
    values = by_name(
        compute_given_label(SeesLabels(config=ConfigWithLabels(), result=given), splits, settings)
    )
    assert values["bpd_given_label"].status == "unavailable"
    assert values["bpd_given_label_nll_noisy"].value == pytest.approx(3.0)


@pytest.mark.parametrize("measure", ["discrete", "noisy"])
@pytest.mark.parametrize("given", [(), ("label",)], ids=str)
def test_the_harness_keeps_every_value(
    measure: Literal["discrete", "noisy"],
    given: tuple[str, ...],
    result: BuildResult,
    splits: DataSplits,
    settings: MetricSettings,
) -> None:
    found = result([-2.0, -4.0], elbo=[-3.0, -5.0], draw_stderr=0.3, measure=measure, given=given)
    if given:
        trained = SeesLabels(config=ConfigWithLabels(), result=found)
        spec, values = BPD_GIVEN_LABEL, compute_given_label(trained, splits, settings)
    else:
        spec, values = BPD, compute(FakeTrained(result=found), splits, settings)
    kept = checked_values(spec, values)
    assert [value.name for value in kept] == [value.name for value in values]
    assert "failed" not in {value.status for value in kept}


def test_a_model_that_sees_no_labels_has_no_such_column(
    splits: DataSplits, settings: MetricSettings
) -> None:
    (value,) = compute_given_label(FakeTrained(), splits, settings)
    assert (value.name, value.status, value.value) == ("bpd_given_label", "unavailable", None)
