from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor

from flowbench.api import DataSplits, MetricSettings, TrainedModel
from flowbench_metrics.density_throughput import compute
from tests.plugins.flowbench_metrics.fakes import Clock, Doubling, FakeTrained, number


class Costing(Doubling):
    """A density whose batch of n takes 16 ms + n 1 ms."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.sizes = clock, set[int]()

    def log_prob(self, x: Tensor, context: Any = None, *, generator: Any = None) -> Tensor:
        assert generator is not None
        assert not torch.is_grad_enabled()
        self.sizes.add(len(x))
        self.clock.now += 0.016 + 0.001 * len(x)
        return x.sum(dim=1)


def test_it_is_the_density_that_is_timed_at_the_best_batch(
    trained: type[FakeTrained],
    splits: DataSplits,
    settings: MetricSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    model = Costing(clock)
    given: TrainedModel = trained(model=model)
    values = {value.name: value for value in compute(given, splits, settings)}
    # As for samples: 256 -> 512 gains less than 5 %.
    assert number(values["density_throughput_batch"]) == 512
    assert number(values["density_throughput"]) == pytest.approx(512 / 0.528)
    assert model.sizes == {2**n for n in range(10)}  # test examples are repeated
    assert values["density_throughput_batch"].protocol["search_stopped_by"] == "gain"
    assert "batch_size" not in values["density_throughput"].protocol
