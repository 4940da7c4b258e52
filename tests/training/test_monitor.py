from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    InvertibleModel,
    Latents,
    ModelConfig,
    NotInvertibleError,
    Split,
)
from flowbench.data.batches import TrainBatches
from flowbench.training import monitor
from flowbench.training.monitor import EXAMPLES, Monitor
from flowbench.training.optim import GuardedStep

INFO = DatasetInfo(
    name="v", modality="vector", event_shape=(3,), levels=None,
    num_train=64, num_validation=8, num_test=8,
)  # fmt: skip


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * self.factor, (3 * self.factor.log()).expand(len(x))


class Pair(nn.Module):
    """Two layers in one, whose sum is no third layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Scale(2.0), Scale(0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, a = self.first(x)
        x, b = self.second(x)
        return x, a + b


class Layers(InvertibleModel):
    """z = 4 x by layers, and 2 more outside of them."""

    def __init__(self, off: float = 0.0) -> None:
        super().__init__(ModelConfig(), INFO)
        self.pair, self.last, self.off = Pair(), Scale(4.0), off

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        x, a = self.pair(x)
        x, b = self.last(x)
        return (2.0 * x,), a + b + 3 * math.log(2.0)

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        return latents[0] / 8.0 + self.off


def look(model: InvertibleModel) -> Mapping[str, float]:
    return Monitor(model)(Batch(x=torch.randn(64, 3)))


def test_layers_are_told_apart_and_what_lies_outside_of_them_is_the_rest() -> None:
    seen = look(Layers())
    of_layers = {k.removeprefix("log_determinant/"): v for k, v in seen.items() if "/" in k}
    assert of_layers == pytest.approx(
        {
            "pair.first": 3 * math.log(2),
            "pair.second": -3 * math.log(2),
            "last": 3 * math.log(4),
            "rest": 3 * math.log(2),
        }
    )
    assert sum(of_layers.values()) == pytest.approx(3 * math.log(8))


@pytest.mark.parametrize("off", [0.0, 1e-3, -0.5])
def test_the_round_trip_is_a_mean_absolute_error(off: float) -> None:
    assert look(Layers(off))["round_trip"] == pytest.approx(abs(off), abs=1e-6)


def test_what_comes_back_as_no_number_is_counted() -> None:
    class Third(Layers):
        def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
            x = super().from_latent(latents)
            x[:, 0] = math.nan
            return x

    seen = look(Third())
    assert seen["round_trip_nonfinite"] == pytest.approx(1 / 3)
    assert seen["round_trip"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("problem", [NotInvertibleError("none"), ValueError("a bug"), KeyError(1)])
def test_an_inverse_that_fails_does_not_stop_training_and_keeps_its_mode(
    problem: Exception,
) -> None:
    class Failing(Layers):
        def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
            raise problem

    model = Failing().train()
    assert look(model) == {}
    assert model.training
    assert not any(part._forward_hooks for part in model.modules())


def test_a_slow_inverse_is_asked_again_only_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Monitor(Layers())
    assert watch.due(0.1)
    moments = iter([0.0, monitor.SLOW_S + 1.0, 2.0, 2.1])
    monkeypatch.setattr(time, "perf_counter", lambda: next(moments))
    watch(Batch(x=torch.randn(64, 3)))
    assert not watch.due(0.5)
    assert watch.due(1.0)


def test_watched_examples_are_the_same_few_each_time() -> None:
    split = Split(x=np.random.default_rng(0).standard_normal((64, 3)).astype(np.float32))
    first, again = (TrainBatches(split, 32, 7, "cpu").next()[0][:EXAMPLES] for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)


def test_the_norm_of_a_gradient_is_that_before_clipping_and_0_for_a_bad_one() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    guarded = GuardedStep(
        ModelConfig.model_validate({"training": {"clip_norm": 1.0}}).training, [parameter]
    )
    parameter.grad = torch.tensor([3.0, 4.0])
    guarded(0.1, torch.zeros(()))
    assert guarded.norm.item() == pytest.approx(5.0)
    parameter.grad = torch.tensor([math.nan, 4.0])
    guarded(0.1, torch.zeros(()))
    assert guarded.norm.item() == 0.0
