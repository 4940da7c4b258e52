"""Most memory that training held."""

from __future__ import annotations

from flowbench.api import DataSplits, MetricSettings, MetricValue, TrainedModel
from flowbench_metrics.specs import PEAK_MEMORY


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Peak memory in bytes.

    Returns:
        ``peak_memory``; its protocol names what was counted, because the memory of a process and
        that of a GPU's allocator are not to be compared.
    """
    del data, settings
    if trained.peak_memory_bytes is None:
        reason = f"no peak memory can be read here ({trained.peak_memory_source})"
        return [MetricValue.unavailable(PEAK_MEMORY, reason)]
    return [
        MetricValue(
            name=PEAK_MEMORY.name,
            value=float(trained.peak_memory_bytes),
            unit=PEAK_MEMORY.unit,
            direction=PEAK_MEMORY.direction,
            protocol={"source": trained.peak_memory_source, "device": trained.device_name},
        )
    ]
