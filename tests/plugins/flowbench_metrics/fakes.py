"""A trained model that is none: every number that a metric sees is set by the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from flowbench.api import (
    DatasetInfo,
    GenerativeModel,
    InvertibleModel,
    LikelihoodResult,
    MetricValue,
    ModelConfig,
    Samples,
    SampleSettings,
)
from flowbench.api.specs import SplitName

BuildResult = Callable[..., LikelihoodResult]
"""Makes a result from log-likelihoods; keywords are those of `Likelihood`."""

INFO = DatasetInfo(
    name="fake",
    modality="vector",
    event_shape=(3,),
    levels=None,
    num_train=8,
    num_validation=2,
    num_test=4,
)


class Doubling(InvertibleModel):
    """z = 2 x; its inverse is off by ``offset``."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__(ModelConfig(), INFO)
        self.scale = nn.Parameter(torch.tensor([2.0]))
        self.frozen = nn.Parameter(torch.zeros(7), requires_grad=False)
        self.register_buffer("table", torch.zeros(11))
        self.offset = offset

    def to_latent(
        self, x: Tensor, context: Any = None, *, aux: Any = None
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        return (self.scale * x,), x.new_full((len(x),), 3 * np.log(2.0))

    def from_latent(self, latents: tuple[Tensor, ...], context: Any = None) -> Tensor:
        return latents[0] / self.scale + self.offset


class FakeTrained:
    """What a metric is handed; each part can be set by its name."""

    data_sha256 = ""
    data_dir = Path("unused")
    weights: Literal["raw", "ema"] | None = None
    device_name = "fake device"
    device_kind = "cpu"
    num_devices = 1
    charged_s = 0.0
    peak_memory_bytes: int | None = None
    peak_memory_source = "nothing"
    ledger: Mapping[str, float] = {}

    def __init__(self, **parts: Any) -> None:
        self.model: GenerativeModel = parts.pop("model", None) or Doubling()
        self.config: ModelConfig = parts.pop("config", ModelConfig())
        self.data = parts.pop("data", INFO)
        self.result: LikelihoodResult | None = parts.pop("result", None)
        self.drawn: Samples | None = parts.pop("samples", None)
        self.on_draw: Callable[[int], None] = parts.pop("on_draw", lambda _: None)
        self.seeds: list[int] = []
        self.num_synchronized = 0
        self.num_ticks = 0
        for name, value in parts.items():
            setattr(self, name, value)

    def likelihood(
        self, split: SplitName, given: tuple[str, ...] | None = None
    ) -> LikelihoodResult:
        assert (split, given) == ("test", None)
        assert self.result is not None
        return self.result

    def log_prob(
        self, x: NDArray[Any], context: Mapping[str, NDArray[Any]] | None = None
    ) -> NDArray[np.float64]:
        raise AssertionError("this test gives no density")

    def log_density(self, x: NDArray[Any]) -> NDArray[np.float64]:
        raise AssertionError("this test gives no target")

    def samples(self, num: int | None = None, settings: SampleSettings | None = None) -> Samples:
        assert self.drawn is not None
        return self.drawn

    def preprocess(self, x: NDArray[Any], *, seed: int) -> Tensor:
        return torch.from_numpy(x)

    def draw(self, num: int, *, seed: int) -> Tensor:
        self.seeds.append(seed)
        self.on_draw(num)
        return torch.zeros(num, 3)

    def synchronize(self) -> None:
        self.num_synchronized += 1

    def tick(self, doing: str = "") -> None:
        self.num_ticks += 1


class Clock:
    """Stands in for ``time.perf_counter``: only draws take time."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def number(value: MetricValue) -> float:
    """A value that must be there."""
    assert value.value is not None, value.reason
    return value.value
