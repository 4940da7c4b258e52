from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from flowbench.api import DataSplits, MetricSettings, MetricValue, TrainedModel
from flowbench_metrics import sampling_throughput
from flowbench_metrics.sampling_throughput import compute
from tests.plugins.flowbench_metrics.fakes import Clock, FakeTrained, number


def costing(clock: Clock, fixed_s: float, each_s: float) -> Callable[[int], None]:
    """A sampler whose batch of n takes fixed_s + n each_s: twice the batch is never worse."""

    def on_draw(num: int) -> None:
        clock.now += fixed_s + num * each_s

    return on_draw


def values_of(
    given: TrainedModel, splits: DataSplits, settings: MetricSettings
) -> dict[str, MetricValue]:
    return {value.name: value for value in compute(given, splits, settings)}


def test_the_batch_doubles_while_that_pays(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings, clock: Clock
) -> None:
    given = trained(on_draw=costing(clock, 0.016, 0.001))
    values = values_of(given, splits, settings)
    # B / (16 + B) per ms: 1/17, 1/9, 1/5, 1/3, 1/2, 2/3, 4/5, 8/9 and 16/17; 64 -> 128 gains
    # 11 %, 128 -> 256 gains 5.9 %, 256 -> 512 gains 3 % and ends it at 512.
    assert values["sampling_throughput_batch"].value == 512
    assert values["sampling_throughput_batch"].protocol["search_stopped_by"] == "gain"
    assert values["sampling_throughput"].value == pytest.approx(512 / 0.528)
    assert values["sampling_throughput"].stderr == pytest.approx(0.0, abs=1e-6)
    assert values["sampling_throughput_latency"].value == pytest.approx(528.0)
    assert values["sampling_throughput_latency"].protocol["batch_size"] == 512
    assert values["sampling_throughput"].unit == "samples/s"


def test_a_sampler_that_gains_nothing_stays_at_one(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings, clock: Clock
) -> None:
    def on_draw(num: int) -> None:
        clock.now += 0.010 * num**1.1

    values = values_of(trained(on_draw=on_draw), splits, settings)
    assert values["sampling_throughput_batch"].value == 1
    assert values["sampling_throughput"].value == pytest.approx(100.0)
    assert values["sampling_throughput_latency_p95"].value == pytest.approx(10.0)


def test_a_slow_sampler_stops_early(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings, clock: Clock
) -> None:
    given = trained(on_draw=costing(clock, 20.0, 0.0))
    values = values_of(given, splits, settings)
    assert len(given.seeds) == 2
    assert values["sampling_throughput"].value == pytest.approx(0.05)
    assert values["sampling_throughput_batch"].protocol["search_stopped_by"] == "time"
    assert values["sampling_throughput_latency_p95"].status == "unavailable"


def test_time_is_bounded(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings, clock: Clock
) -> None:
    start = clock.now
    values = values_of(trained(on_draw=costing(clock, 0.1, 0.0)), splits, settings)
    limit = sampling_throughput.SEARCH_LIMIT_S + sampling_throughput.FINAL_LIMIT_S
    assert clock.now - start <= limit + 3 * 0.1
    assert values["sampling_throughput_batch"].protocol["search_stopped_by"] == "time"


def test_full_memory_ends_the_search(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings, clock: Clock
) -> None:
    def on_draw(num: int) -> None:
        if num > 8:
            raise torch.OutOfMemoryError("out of memory")
        clock.now += 0.01

    values = values_of(trained(on_draw=on_draw), splits, settings)
    assert values["sampling_throughput_batch"].value == 8
    assert values["sampling_throughput_batch"].protocol["search_stopped_by"] == "memory"
    assert values["sampling_throughput"].value == pytest.approx(800.0)


def test_the_largest_batch_ends_the_search(
    trained: type[FakeTrained],
    splits: DataSplits,
    settings: MetricSettings,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampling_throughput, "MAX_BATCH", 16)
    values = values_of(trained(on_draw=costing(clock, 0.001, 0.0)), splits, settings)
    assert values["sampling_throughput_batch"].value == 16
    assert values["sampling_throughput_batch"].protocol["search_stopped_by"] == "size"


def test_the_error_of_a_varying_sampler(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings, clock: Clock
) -> None:
    given = trained()

    def on_draw(num: int) -> None:
        clock.now += 0.010 if len(given.seeds) % 2 else 0.030

    given.on_draw = on_draw
    value = values_of(given, splits, settings)["sampling_throughput"]
    # Of 20 times, half are 10 and half 30 ms: mean 20, sample deviation 10 sqrt(20 / 19).
    assert value.num_examples == 20
    assert value.stderr is not None
    assert value.stderr / number(value) == pytest.approx(0.5 * (20 / 19) ** 0.5 / 20**0.5)
