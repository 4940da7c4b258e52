"""Sampling throughput: samples a second at the batch size that gives the most."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import torch

from flowbench.api import DataSplits, MetricSettings, MetricSpec, MetricValue, TrainedModel
from flowbench_metrics.specs import SAMPLING_THROUGHPUT
from flowbench_metrics.timing import DrawTimer, latency_values, timing_protocol

GAIN = 1.05  # a doubled batch must bring this much more, or the search is over
SEARCH_LIMIT_S = 3.0
MAX_BATCH = 8192
SEARCH_REPEATS = 3
FINAL_REPEATS = 20
FINAL_LIMIT_S = 3.0


StoppedBy = Literal["gain", "time", "memory", "size"]


class Trial(NamedTuple):
    """A batch size and the times of its draws."""

    batch_size: int
    times: list[float]

    @property
    def throughput(self) -> float:
        """Samples a second, by the median draw."""
        return self.batch_size / float(np.median(self.times))


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Throughput at the best batch size, and the latency of a batch there.

    Args:
        trained: The model.
        data: Not used.
        settings: How samples are drawn.

    Returns:
        ``sampling_throughput``, ``sampling_throughput_batch`` (the batch size), and the median and
        95th percentile of a batch's time, ``sampling_throughput_latency`` and ``..._p95``.
    """
    del data
    best, times, stopped_by = timed(DrawTimer(trained, settings))
    protocol = timing_protocol(trained, settings)
    batch = MetricValue(
        name="sampling_throughput_batch",
        value=float(best.batch_size),
        unit="samples",
        direction="none",
        protocol=protocol | {"search_stopped_by": stopped_by},
    )
    # The latency belongs to its batch; the throughput is the best of any.
    at_batch = protocol | {"batch_size": best.batch_size}
    latencies = latency_values(SAMPLING_THROUGHPUT, "sampling_throughput_latency", times, at_batch)
    value = throughput(SAMPLING_THROUGHPUT, best.batch_size, times)
    return [replace(value, protocol=protocol), batch, *latencies]


def timed(timer: DrawTimer) -> tuple[Trial, list[float], StoppedBy]:
    """The best batch, its times at greater length, and what ended the search for it."""
    best, stopped_by = best_batch(timer)
    times = best.times
    if sum(times) < FINAL_LIMIT_S:
        times = timer.repeat(
            best.batch_size, warmup=0, repeats=FINAL_REPEATS, limit_s=FINAL_LIMIT_S
        )
    return best, times, stopped_by


def best_batch(timer: DrawTimer) -> tuple[Trial, StoppedBy]:
    """Doubles the batch until that brings less than 5 %, the time is over or memory is full.

    Args:
        timer: Times the draws.

    Returns:
        The best batch size that was tried, and what ended the search. Where that is ``time``, a
        slow sampler may well be faster with larger batches.
    """
    end = time.perf_counter() + SEARCH_LIMIT_S
    best = _try(timer, 1, end)
    while best.batch_size < MAX_BATCH:
        if time.perf_counter() >= end:
            return best, "time"
        try:
            doubled = _try(timer, 2 * best.batch_size, end)
        except torch.OutOfMemoryError:
            return best, "memory"
        if doubled.throughput < GAIN * best.throughput:
            return max(best, doubled, key=lambda trial: trial.throughput), "gain"
        best = doubled
    return best, "size"


def _try(timer: DrawTimer, batch_size: int, end: float) -> Trial:
    limit_s = end - time.perf_counter()
    return Trial(
        batch_size, timer.repeat(batch_size, warmup=1, repeats=SEARCH_REPEATS, limit_s=limit_s)
    )


def throughput(spec: MetricSpec, batch_size: int, times: list[float]) -> MetricValue:
    """How many of something a second.

    Args:
        spec: The metric.
        times: Seconds of each batch.

    Returns:
        The value with its standard error.
    """
    mean_s = float(np.mean(times))
    stderr = None
    if len(times) > 1:  # by the delta method: d(B / t) = B / t * dt / t
        relative = float(np.std(times, ddof=1)) / math.sqrt(len(times)) / mean_s
        stderr = batch_size / mean_s * relative
    return MetricValue(
        name=spec.name,
        value=batch_size / mean_s,
        unit=spec.unit,
        direction=spec.direction,
        num_examples=len(times),
        stderr=stderr,
    )
