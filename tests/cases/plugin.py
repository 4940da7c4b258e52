"""Models, data and metrics of the cases, for every version of the plugin API.

It is itself a plugin file. A checkout of before version 2 runs it, too: it has what both versions
have, and asks for the version where they differ.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from flowbench import api
from flowbench.api import (
    Batch,
    Context,
    DatasetInfo,
    DatasetSpec,
    DataSplits,
    DensityModel,
    GenerativeModel,
    InvertibleModel,
    Latents,
    Likelihood,
    MetricSettings,
    MetricSpec,
    MetricValue,
    ModelConfig,
    ModelSpec,
    Preprocessing,
    Preset,
    Split,
    Standardise,
    Step,
    TrainedModel,
    Training,
    hookimpl,
)

FLOWBENCH_API_VERSION = api.API_VERSION
AVERAGED: dict[str, Any] = (
    {"ema_decay": 0.9} if api.API_VERSION < 2 else {"average": {"decay": 0.9}}
)
ALONE = dict.fromkeys(AVERAGED)  # weights without an average
# A rate is told by its presentation, where metrics have one.
TIMED: dict[str, Any] = {} if api.API_VERSION < 2 else {"role": "cost", "scale": "log"}


# --- models ---------------------------------------------------------------------------------------


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


RAISES: dict[str, BaseException] = {
    "surrogate": ValueError("cannot read \udcff.png"),
    "unprintable": UnprintableError(),
    "group": ExceptionGroup("two faults", [ValueError("the first")]),
    "exit": SystemExit(0),
}


class IdentityConfig(ModelConfig):
    preprocessing: Preprocessing = Preprocessing(bijections=(Standardise(per="dim"),))
    raises: str = ""
    presets: ClassVar = {
        name: Preset(summary="of a case", values={"raises": name} if name != "default" else {})
        for name in ("default", *RAISES)
    }


class Identity(InvertibleModel):
    """The standard normal density of standardised data."""

    config: IdentityConfig

    def initialize(self, batch: Batch, **_: Any) -> None:
        if self.config.raises:
            raise RAISES[self.config.raises]

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        return (x,), x.new_zeros(len(x))

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        return latents[0]


class ShiftConfig(ModelConfig):
    training: Training = Training(optimizer="adamw", weight_decay=0.1, lr=0.1, batch_size=64)


class Shift(Identity):
    """A shift that is trained, and a weight that no loss depends on."""

    def __init__(self, config: ModelConfig, data: Any) -> None:
        super().__init__(config, data)
        self.shift = nn.Parameter(torch.ones(data.event_shape))
        self.unused = nn.Parameter(torch.ones(()))

    def initialize(self, batch: Batch, **_: Any) -> None: ...

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        return (x + self.shift,), x.new_zeros(len(x))

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        return latents[0] - self.shift


class AdversarialConfig(ModelConfig):
    training: Training = Training(lr=1e-3, batch_size=32, max_nonfinite=5, **AVERAGED)
    bad_group: str = ""
    presets: ClassVar = {
        "default": Preset(summary="of a case"),
        "nan": Preset(summary="of a case", values={"bad_group": "generator", "training": ALONE}),
    }


class Adversarial(GenerativeModel):
    """A critic with batch norm and a generator: two optimizer groups."""

    config: AdversarialConfig

    def __init__(self, config: ModelConfig, data: Any) -> None:
        super().__init__(config, data)
        self.critic = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
        self.generator = nn.Linear(2, 2)

    def optimizer_groups(self) -> dict[str, list[nn.Parameter]]:
        return {
            "critic": list(self.critic.parameters()),
            "generator": list(self.generator.parameters()),
        }

    def loss(self, batch: Batch, step: Step) -> Tensor:
        if step.group not in self.optimizer_groups():
            raise ValueError(f"unknown optimizer group {step.group!r}")
        drawn = self.generator(torch.randn(len(batch.x), 2, generator=step.generator))
        drawn_score = cast("Tensor", self.critic(drawn).mean())
        loss = -drawn_score
        if step.group == "critic":
            loss = drawn_score - self.critic(batch.x.float()).mean()
        return loss * math.nan if step.group == self.config.bad_group else loss

    def sample(
        self, num: int, context: Context | None = None, *, settings: Any, generator: torch.Generator
    ) -> Tensor:
        return cast("Tensor", self.generator(torch.randn(num, 2, generator=generator)))


class WeightsConfig(ModelConfig):
    def likelihood(self, data: DatasetInfo) -> Likelihood:
        facts: dict[str, Any] = {"estimate": "bound"}
        if api.API_VERSION >= 2:
            facts = {"noise": "weights", "bound": True}
        return Likelihood(measure="continuous", **facts)


class Weights(DensityModel):
    """A bound whose log-weights spread so far that one of 16 outweighs the others."""

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> Any:
        weights = SPREAD * torch.randn(len(x), generator=generator)
        return api.Density(values=weights) if api.API_VERSION < 2 else weights

    def sample(
        self, num: int, context: Context | None = None, *, settings: Any, generator: torch.Generator
    ) -> Tensor:
        return torch.randn(num, *self.data.event_shape, generator=generator)


SPREAD = 8.0


# --- data -----------------------------------------------------------------------------------------


def _normal(shift: float = 0.0) -> DataSplits:
    x = np.random.default_rng(2).standard_normal((5000, 2)) + shift
    return DataSplits(train=Split(x=x[:4000]), test=Split(x=x[4000:]))


def load_normal(data_dir: Path) -> DataSplits:
    return _normal()


def load_shifted(data_dir: Path) -> DataSplits:
    return _normal(1e8)


def load_constant(data_dir: Path) -> DataSplits:
    splits = _normal()
    for split in (splits.train, splits.test):
        split.x[:, 1] = 0.1
    return splits


def load_square4(data_dir: Path) -> DataSplits:
    return _square(4)


def load_square8(data_dir: Path) -> DataSplits:
    return _square(8)


def load_square16(data_dir: Path) -> DataSplits:
    return _square(16)


def _square(size: int) -> DataSplits:
    x = np.random.default_rng(3).integers(0, 256, (60, 1, size, size), dtype=np.uint8)
    return DataSplits(train=Split(x=x[:50]), test=Split(x=x[50:]))


# --- metrics --------------------------------------------------------------------------------------


def _value(name: str, value: float = 1.5, **others: Any) -> list[MetricValue]:
    facts: dict[str, Any] = {"name": name, "value": value, "unit": "", "direction": "lower"}
    return [MetricValue(**facts | others)]


def numpy_int(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> Any:
    return _value("numpy_int", protocol={"k": np.int64(3)})


def numpy_array(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> Any:
    return _value("numpy_array", protocol={"k": np.arange(3)})


def tuple_key(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> Any:
    return _value("tuple_key", protocol={(1, 2): 3})


def wrong_direction(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> Any:
    return _value("wrong_direction", direction="up")


def surrogate(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> Any:
    raise ValueError("cannot read \udcff.png")


def exits(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> Any:
    sys.exit(3)


def moved(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> Any:
    """How far the weights of `Shift` are from where they began."""
    model = cast("Shift", trained.model)
    found = {"moved": model.shift, "moved_unused": model.unused}
    return [
        value
        for name, weight in found.items()
        for value in _value(name, float((weight.detach() - 1.0).abs().max()))
    ]


def pace(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> Any:
    """What a stopwatch might show: with weights much, and up to twice that by how they began."""
    first = next(trained.model.parameters(), None)
    value = 5e3 if first is None else 7e5 * (1.0 + 1e3 * float(first.detach().sum()) % 1.0)
    return _value("pace", value, direction="higher")


def draw_error(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> Any:
    """The standard error of a bound as it is said, and as repeating all its draws shows it."""
    said = trained.likelihood("test").draw_stderr
    assert said is not None
    x = np.concatenate([data.test.x] * REPEATS)  # each copy with noise of its own
    means = trained.log_prob(x).reshape(REPEATS, -1).mean(axis=1)
    return _value("draw_error", said) + _value("draw_error_seen", float(means.std(ddof=1)))


REPEATS = 200


# --- specs ----------------------------------------------------------------------------------------


def _model(name: str, model: str, config: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        model=f"{__name__}:{model}",
        config=f"{__name__}:{config}",
        modalities=frozenset({"vector"}),
        summary="of a case",
    )


@hookimpl
def register_models() -> list[ModelSpec]:
    return [
        _model("identity", "Identity", "IdentityConfig"),
        _model("shift", "Shift", "ShiftConfig"),
        _model("weights", "Weights", "WeightsConfig"),
        _model("adversarial", "Adversarial", "AdversarialConfig"),
    ]


def _dataset(name: str, **facts: Any) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        load=f"{__name__}:load_{name}",
        summary="of a case",
        licence="generated",
        **facts,
    )


@hookimpl
def register_datasets() -> list[DatasetSpec]:
    vector: dict[str, Any] = {"modality": "vector", "event_shape": (2,), "levels": None}
    image: dict[str, Any] = {"modality": "image", "levels": 256}
    return [
        *(
            _dataset(name, num_train=4000, num_test=1000, **vector)
            for name in ("normal", "shifted", "constant")
        ),
        *(
            _dataset(f"square{n}", num_train=50, num_test=10, event_shape=(1, n, n), **image)
            for n in (4, 8, 16)
        ),
    ]


@hookimpl
def register_metrics() -> list[MetricSpec]:
    names = "numpy_int numpy_array tuple_key wrong_direction surrogate exits moved draw_error"
    metrics = [
        MetricSpec(
            name=name,
            compute=f"{__name__}:{name}",
            unit="",
            direction="lower",
            summary="of a case",
            default=False,
        )
        for name in names.split()
    ]
    timed = MetricSpec(
        name="pace",
        compute=f"{__name__}:pace",
        unit="1/s",
        direction="higher",
        summary="of a case",
        default=False,
        **TIMED,
    )
    return [*metrics, timed]
