from __future__ import annotations

from flowbench.api import DataSplits, MetricSettings
from flowbench_metrics.peak_memory import compute
from tests.plugins.flowbench_metrics.fakes import FakeTrained


def test_bytes_with_their_source(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings
) -> None:
    given = trained(peak_memory_bytes=123_456, peak_memory_source="resident set of the process")
    (value,) = compute(given, splits, settings)
    assert (value.value, value.unit, value.direction) == (123_456.0, "bytes", "lower")
    assert value.protocol["source"] == "resident set of the process"


def test_a_device_that_cannot_say(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings
) -> None:
    (value,) = compute(trained(), splits, settings)
    assert (value.value, value.status) == (None, "unavailable")
    assert "nothing" in str(value.reason)
