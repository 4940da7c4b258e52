"""Times draws from a model: warmed up, synchronised, and within a time limit."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flowbench.api import MetricSettings, MetricSpec, MetricValue, TrainedModel
from flowbench_metrics.sample_protocol import sample_protocol

MIN_FOR_P95 = 20  # fewer repeats say nothing of a 95th percentile
MILLISECONDS = 1e3


class DrawTimer:
    """Times draws, each from a seed of its own.

    Args:
        trained: The model.
        settings: Gives the first seed.
    """

    def __init__(self, trained: TrainedModel, settings: MetricSettings) -> None:
        self._trained = trained
        self._seeds: Iterator[int] = itertools.count(settings.seed)

    def draw_s(self, batch_size: int) -> float:
        """Times one draw.

        Returns:
            Seconds until the device has finished.
        """
        seed = next(self._seeds)
        self._trained.synchronize()
        start = time.perf_counter()
        self.work(batch_size, seed)
        self._trained.synchronize()
        return time.perf_counter() - start

    def work(self, batch_size: int, seed: int) -> None:
        """What is timed: a draw, in a subclass something else."""
        self._trained.draw(batch_size, seed=seed)

    def repeat(self, batch_size: int, *, warmup: int, repeats: int, limit_s: float) -> list[float]:
        """Times draws until there are enough of them or the time is over.

        Args:
            batch_size: Number of samples of each draw.
            warmup: Draws whose times are dropped; once the time is over, one is enough.
            repeats: Draws that are timed, at most.
            limit_s: Time after which no further draw begins, warm-up included.

        Returns:
            Seconds of each timed draw, at least one.
        """
        end = time.perf_counter() + limit_s
        for _ in range(warmup):
            self.draw_s(batch_size)
            if time.perf_counter() >= end:
                break
        times = [self.draw_s(batch_size)]
        while len(times) < repeats and time.perf_counter() < end:
            times.append(self.draw_s(batch_size))
        return times


def latency_values(
    spec: MetricSpec, name: str, times: list[float], protocol: dict[str, Any]
) -> list[MetricValue]:
    """Median and 95th percentile of draw times.

    Args:
        spec: The metric.
        name: Name of the median; that of the percentile ends in ``_p95``.
        times: Seconds of each draw.
        protocol: What two latencies must share to be compared.

    Returns:
        Both values in ms; the percentile is unavailable with fewer than 20 draws.
    """
    median = _quantile_value(name, times, 0.5, protocol)
    if len(times) < MIN_FOR_P95:
        reason = (
            f"{len(times)} draws in the time limit, a 95th percentile needs {MIN_FOR_P95}; "
            "this sampler is too slow for one here"
        )
        return [median, MetricValue.unavailable(spec, reason, name=f"{name}_p95")]
    return [median, _quantile_value(f"{name}_p95", times, 0.95, protocol)]


def timing_protocol(trained: TrainedModel, settings: MetricSettings) -> dict[str, Any]:
    """What two timings must share to be compared.

    Args:
        trained: The model, for its device.
        settings: How samples are drawn.

    Returns:
        Device, threads (of a CPU), sampling settings and whose weights drew.
    """
    threads = torch.get_num_threads() if trained.device_kind == "cpu" else None
    machine = {"device": trained.device_name, "num_threads": threads}
    return machine | sample_protocol(trained, settings)


def quantile_stderr(values: NDArray[np.float64], q: float) -> float | None:
    """Standard error of a quantile, from order statistics and so of any distribution.

    The rank of the true quantile among N values is binomial with standard deviation
    sqrt(N q (1 - q)); this is half the distance of the values that lie so far on either side.

    Args:
        values: Values, shape (N,).
        q: Which quantile, in (0, 1).

    Returns:
        The standard error; None for one value.
    """
    if len(values) < 2:
        return None
    spread = math.sqrt(q * (1.0 - q) / len(values))
    low, high = np.quantile(values, [max(0.0, q - spread), min(1.0, q + spread)])
    return float(high - low) / 2.0


def _quantile_value(
    name: str, times: list[float], q: float, protocol: dict[str, Any]
) -> MetricValue:
    values = MILLISECONDS * np.array(times)
    return MetricValue(
        name=name,
        value=float(np.quantile(values, q)),
        unit="ms",
        direction="lower",
        num_examples=len(values),
        stderr=quantile_stderr(values, q),
        protocol=protocol,
    )
