from __future__ import annotations

import itertools

import pytest

from flowbench.api import DataSplits, MetricSettings
from flowbench_metrics import sampling_latency
from flowbench_metrics.sampling_latency import compute
from tests.plugins.flowbench_metrics.fakes import Clock, FakeTrained


def test_median_and_p95_of_known_times(
    trained: type[FakeTrained],
    splits: DataSplits,
    settings: MetricSettings,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warmup = itertools.repeat(1.0, sampling_latency.WARMUP)
    times = itertools.chain(warmup, (0.001 * k for k in range(1, 51)))  # 1 to 50 ms

    def on_draw(num: int) -> None:
        assert num == 1
        clock.now += next(times)

    monkeypatch.setattr(sampling_latency, "LIMIT_S", 100.0)
    median, p95 = compute(trained(on_draw=on_draw), splits, settings)
    assert (median.name, p95.name) == ("sampling_latency", "sampling_latency_p95")
    assert median.value == pytest.approx(25.5)
    assert p95.value == pytest.approx(47.55)
    # Ranks q n +- sqrt(n q (1 - q)) of 1..50: half their distance is sqrt(q (1 - q) / n) * 49.
    assert median.stderr == pytest.approx(49 * 0.5 / 50**0.5)
    assert (median.unit, median.num_examples) == ("ms", 50)
    assert median.protocol["batch_size"] == 1
    assert median.protocol["num_threads"] >= 1


def test_every_draw_has_its_own_seed_and_is_synchronised(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings, clock: Clock
) -> None:
    given = trained(on_draw=lambda _: None)
    compute(given, splits, settings)
    assert given.seeds == list(range(5, 5 + sampling_latency.WARMUP + sampling_latency.REPEATS))
    assert given.num_synchronized == 2 * len(given.seeds)


def test_a_slow_sampler_has_no_p95(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings, clock: Clock
) -> None:
    def on_draw(num: int) -> None:
        clock.now += 10.0

    given = trained(on_draw=on_draw)
    median, p95 = compute(given, splits, settings)
    assert median.value == pytest.approx(10_000.0)
    assert (median.num_examples, median.stderr) == (1, None)
    assert (p95.status, p95.value) == ("unavailable", None)
    assert "1 draws in the time limit" in str(p95.reason)
    assert len(given.seeds) == 2  # one to warm up, one timed


def test_the_limit_is_kept(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings, clock: Clock
) -> None:
    def on_draw(num: int) -> None:
        clock.now += 0.25

    given = trained(on_draw=on_draw)
    start = clock.now
    median, _ = compute(given, splits, settings)
    assert clock.now - start <= sampling_latency.LIMIT_S
    assert median.num_examples == 12 - sampling_latency.WARMUP
