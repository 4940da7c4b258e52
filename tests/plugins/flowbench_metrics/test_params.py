from __future__ import annotations

from flowbench.api import DataSplits, MetricSettings
from flowbench_metrics.params import compute
from tests.plugins.flowbench_metrics.fakes import FakeTrained


def test_only_trainable_parameters_count(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings
) -> None:
    (value,) = compute(trained(), splits, settings)  # one trainable, seven frozen, eleven buffered
    assert (value.name, value.value, value.direction) == ("params", 1.0, "lower")
