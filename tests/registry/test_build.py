from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from flowbench.api import DatasetInfo, ModelConfig
from flowbench.data.library.splits import validation_size
from flowbench.errors import ConfigError
from flowbench.registry import Registry
from flowbench.registry.build import build_model
from flowbench.registry.configs import configure, undequantized
from flowbench.runner import describe
from flowbench.runner.describe import describe_model


def _configured(registry: Registry, choice: str, dataset: str) -> tuple[ModelConfig, DatasetInfo]:
    spec = registry.dataset(dataset).spec
    data = spec.info(validation_size(spec))
    return configure(registry, choice, data, {}).config, data


def test_a_density_of_integers_without_noise_is_refused_before_training(
    fake_registry: Registry,
) -> None:
    config, data = _configured(fake_registry, "fake-gaussian:vectors", "fake-images")
    with pytest.raises(ConfigError, match=r"fake-gaussian on fake-images: .*add noise=Uniform"):
        build_model(fake_registry, "fake-gaussian", config.model_dump(), data)
    with pytest.raises(ConfigError, match="density over integers without dequantization"):
        describe_model(fake_registry, "fake-gaussian:vectors", "fake-images", {})


def test_what_has_no_density_needs_no_noise(fake_registry: Registry) -> None:
    config, data = _configured(fake_registry, "fake-gan", "fake-images")
    build_model(fake_registry, "fake-gan", config.model_dump(), data)


@pytest.mark.parametrize(
    ("preset", "dataset"), [("images", "fake-images"), ("vectors", "fake-vectors")]
)
def test_a_density_of_the_right_data_is_not(
    fake_registry: Registry, preset: str, dataset: str
) -> None:
    assert undequantized(*_configured(fake_registry, f"fake-gaussian:{preset}", dataset)) is None


def test_a_constructor_that_reads_values_is_built_for_real(
    fake_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = fake_registry.model("fake-gaussian").resolve("fakes:Gaussian")
    build = cls.__init__

    def reads(self: Any, config: ModelConfig, data: DatasetInfo) -> None:
        build(self, config, data)
        self.gain = self.mean.max().item() + float(torch.ones(()))

    monkeypatch.setattr(cls, "__init__", reads)
    monkeypatch.setattr(describe, "REAL_NUMBERS", 0)
    facts = describe_model(fake_registry, "fake-gaussian", "fake-images", {})
    assert facts["num_parameters"] > 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(10**6, 10**6),
        lambda: torch.zeros((10**6, 10**6)),
        lambda: torch.randn(size=[10**6, 10**6]),
        lambda: torch.full(torch.Size([10**6, 10**6]), 0.5),
        lambda: torch.nn.Linear(10**6, 10**6).weight,
    ],
)
def test_a_model_larger_than_memory_is_counted(
    fake_registry: Registry, monkeypatch: pytest.MonkeyPatch, make: Callable[[], torch.Tensor]
) -> None:
    cls = fake_registry.model("fake-gaussian").resolve("fakes:Gaussian")
    build = cls.__init__

    def large(self: Any, config: ModelConfig, data: DatasetInfo) -> None:
        build(self, config, data)
        self.large = torch.nn.Parameter(make())

    small = describe_model(fake_registry, "fake-gaussian", "fake-images", {})
    monkeypatch.setattr(cls, "__init__", large)
    facts = describe_model(fake_registry, "fake-gaussian", "fake-images", {})
    assert facts["num_parameters"] == small["num_parameters"] + 10**12


def test_a_small_model_is_made_without_the_compiler(
    fake_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = fake_registry.model("fake-gaussian").resolve("fakes:Gaussian")
    build, devices = cls.__init__, []

    def noted(self: Any, config: ModelConfig, data: DatasetInfo) -> None:
        build(self, config, data)
        devices.append(self.mean.device.type)

    monkeypatch.setattr(cls, "__init__", noted)
    describe_model(fake_registry, "fake-gaussian", "fake-images", {})
    monkeypatch.setattr(describe, "REAL_NUMBERS", 10)
    describe_model(fake_registry, "fake-gaussian", "fake-images", {})
    assert devices == ["cpu", "meta"]


def test_parameters_that_training_alone_needs_are_counted_apart(
    fake_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = fake_registry.model("fake-gaussian").resolve("fakes:Gaussian")
    facts = describe_model(fake_registry, "fake-gaussian", "fake-images", {})
    assert "num_parameters_training" not in facts
    monkeypatch.setattr(cls, "num_parameters_training", lambda self: 10 + self.num_parameters())
    facts = describe_model(fake_registry, "fake-gaussian", "fake-images", {})
    assert facts["num_parameters_training"] == 10 + facts["num_parameters"]
