from __future__ import annotations

import pytest

from flowbench.api import DataSplits, MetricSettings
from flowbench_metrics.training_cost import compute_device_hours, compute_gpu_hours
from tests.plugins.flowbench_metrics.fakes import FakeTrained


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_gpu_hours_are_devices_times_charged_hours(
    kind: str, trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings
) -> None:
    given = trained(device_kind=kind, num_devices=4, charged_s=1800.0)
    (value,) = compute_gpu_hours(given, splits, settings)
    assert (value.name, value.value, value.unit) == ("gpu_hours", 2.0, "h")
    assert value.protocol == {"device": "fake device", "num_devices": 4}


def test_a_cpu_has_no_gpu_hours(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings
) -> None:
    given = trained(device_kind="cpu", charged_s=7200.0)
    (gpu,) = compute_gpu_hours(given, splits, settings)
    assert (gpu.value, gpu.status) == (None, "unavailable")
    assert str(gpu.reason).startswith("trained on CPU")
    (device,) = compute_device_hours(given, splits, settings)
    assert (device.name, device.value) == ("device_hours", 2.0)
