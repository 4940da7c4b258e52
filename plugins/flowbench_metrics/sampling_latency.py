"""Sampling latency: the time to draw one sample."""

from __future__ import annotations

from flowbench.api import DataSplits, MetricSettings, MetricValue, TrainedModel
from flowbench_metrics.specs import SAMPLING_LATENCY
from flowbench_metrics.timing import DrawTimer, latency_values, timing_protocol

WARMUP = 3
REPEATS = 50
LIMIT_S = 3.0


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Latency at batch 1.

    Args:
        trained: The model.
        data: Not used.
        settings: How samples are drawn.

    Returns:
        ``sampling_latency``, the median of up to 50 draws, and ``sampling_latency_p95``.
    """
    del data
    timer = DrawTimer(trained, settings)
    times = timer.repeat(1, warmup=WARMUP, repeats=REPEATS, limit_s=LIMIT_S)
    protocol = timing_protocol(trained, settings) | {"batch_size": 1}
    return latency_values(SAMPLING_LATENCY, SAMPLING_LATENCY.name, times, protocol)
