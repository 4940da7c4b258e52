"""What training cost: GPU-hours, and device-hours on any device."""

from __future__ import annotations

from flowbench.api import DataSplits, MetricSettings, MetricSpec, MetricValue, TrainedModel
from flowbench_metrics.specs import DEVICE_HOURS, GPU_HOURS

SECONDS_AN_HOUR = 3600.0


def compute_gpu_hours(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    """GPUs times charged hours.

    Returns:
        ``gpu_hours``; unavailable, and never 0, for a model trained on a CPU.
    """
    del data, settings
    if trained.device_kind == "cpu":
        reason = "trained on CPU; see device_hours, or train with --device cuda"
        return [MetricValue.unavailable(GPU_HOURS, reason)]
    return [_hours(GPU_HOURS, trained)]


def compute_device_hours(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    """Devices times charged hours; all the threads of a CPU count as one device.

    Returns:
        ``device_hours``.
    """
    del data, settings
    return [_hours(DEVICE_HOURS, trained)]


def _hours(spec: MetricSpec, trained: TrainedModel) -> MetricValue:
    return MetricValue(
        name=spec.name,
        value=trained.num_devices * trained.charged_s / SECONDS_AN_HOUR,
        unit=spec.unit,
        direction=spec.direction,
        protocol={"device": trained.device_name, "num_devices": trained.num_devices},
    )
