from __future__ import annotations

from flowbench_metrics.peak_memory import compute


def test_bytes_with_their_source(trained, splits, settings) -> None:
    given = trained(peak_memory_bytes=123_456, peak_memory_source="resident set of the process")
    (value,) = compute(given, splits, settings)
    assert (value.value, value.unit, value.direction) == (123_456.0, "bytes", "lower")
    assert value.protocol["source"] == "resident set of the process"


def test_a_device_that_cannot_say(trained, splits, settings) -> None:
    (value,) = compute(trained(), splits, settings)
    assert (value.value, value.status) == (None, "unavailable")
    assert "nothing" in value.reason
