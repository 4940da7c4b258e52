from __future__ import annotations

from flowbench.api import DataSplits, MetricSettings
from flowbench_metrics.log_likelihood import compute
from tests.plugins.flowbench_metrics.fakes import BuildResult, FakeTrained


def test_it_is_the_mean_and_higher_is_better(
    trained: type[FakeTrained], result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    given = result([-1.0, -4.0, 2.0], measure="continuous")
    (value,) = compute(trained(result=given), splits, settings)
    assert (value.value, value.direction, value.unit) == (-1.0, "higher", "nats")
    assert value.num_examples == 3


def test_noisy_data_have_none(
    trained: type[FakeTrained], result: BuildResult, splits: DataSplits, settings: MetricSettings
) -> None:
    (value,) = compute(trained(result=result([-2.0], measure="noisy")), splits, settings)
    assert value.status == "unavailable"
