from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flowbench.api import (
    Context,
    DatasetInfo,
    DataSplits,
    DensityModel,
    GaussianNoise,
    InvertibleModel,
    Latents,
    MetricSettings,
    MetricValue,
    ModelConfig,
    Preprocessing,
    SampleSettings,
    SamplingOptions,
    Split,
    WithInfo,
    standard_normal_log_prob,
)
from flowbench_metrics.sample_agreement import compute, p_value
from flowbench_metrics.specs import SAMPLE_AGREEMENT
from tests.plugins.flowbench_metrics.fakes import BuildResult, FakeTrained


class Mixture(DensityModel):
    """Two normals of std 0.5, each by a half; what is wrong with it is set by name."""

    def __init__(
        self,
        num_dims: int = 2,
        *,
        temperature: float = 1.0,
        shift: float = 0.0,
        first: float = 0.5,
        slope: float = 0.0,
        noise: float = 0.0,
    ) -> None:
        info = DatasetInfo(
            name="fake",
            modality="vector",
            event_shape=(num_dims,),
            levels=None,
            num_train=500,
            num_validation=2,
            num_test=4,
        )
        super().__init__(ModelConfig(), info)
        self.centres = nn.Parameter(torch.tensor([-1.0, 1.0])[:, None].repeat(1, num_dims))
        self.temperature, self.shift, self.first = temperature, shift, first
        self.slope, self.noise = slope, noise

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: Any = None
    ) -> WithInfo:
        of_each = [standard_normal_log_prob(((x - c) / 0.5,)) for c in self.centres]
        wrong = self.slope * x.abs().sum(dim=1)
        random = self.noise * torch.randn(len(x), generator=generator)
        constant = math.log(2) + x.shape[1] * math.log(0.5)
        return torch.stack(of_each).logsumexp(dim=0) - constant + wrong + random

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> WithInfo:
        is_second = torch.rand(num, generator=generator) > self.first
        noise = torch.randn(num, self.data.num_dims, generator=generator)
        scale = 0.5 * settings.temperature * self.temperature
        return self.centres[is_second.long()] + scale * noise + self.shift


def measure(
    model: DensityModel,
    result: BuildResult,
    seed: int = 0,
    sample: SampleSettings | None = None,
    kind: dict[str, Any] | None = None,
    **parts: Any,
) -> MetricValue:
    num_dims = model.data.num_dims
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], size=(500, 1)) + 0.5 * rng.normal(size=(500, num_dims))
    split = Split(x=x.astype(np.float32))
    data = DataSplits(train=split, validation=split, test=split)
    facts = {"measure": "continuous"} | (kind or {})
    given = FakeTrained(model=model, result=result(np.zeros(4), **facts), data=model.data, **parts)
    settings = MetricSettings(seed=seed, sample=sample or SampleSettings())
    (value,) = compute(given, data, settings)
    return value


@pytest.mark.parametrize("num_dims", [2, 40])
def test_draws_of_the_density_are_not_refuted(result: BuildResult, num_dims: int) -> None:
    values = [measure(Mixture(num_dims), result, seed).value for seed in range(4)]
    assert min(v for v in values if v is not None) > 1e-3
    assert measure(Mixture(num_dims), result).value == values[0]


@pytest.mark.parametrize("num_dims", [2, 40])
@pytest.mark.parametrize(
    "fault",
    [
        {"temperature": 0.93},
        {"temperature": 1.1},
        {"shift": 0.1},
        {"slope": 0.1},  # a density whose log-determinant lacks a part
    ],
)
def test_other_samples_are_refuted(
    result: BuildResult, fault: dict[str, float], num_dims: int
) -> None:
    value = measure(Mixture(num_dims, **fault), result)
    assert SAMPLE_AGREEMENT.refutation(value) is not None, value


def test_in_few_dims_a_temperature_of_097_shows(result: BuildResult) -> None:
    value = measure(Mixture(2, temperature=0.97), result)
    assert SAMPLE_AGREEMENT.refutation(value) is not None, value


class Stretched(InvertibleModel):
    """x = sinh(z) with N(0, 1) latents, drawn at a temperature of its own."""

    def __init__(self, num_dims: int, temperature: float) -> None:
        super().__init__(ModelConfig(), Mixture(num_dims).data)
        self.temperature = temperature

    def to_latent(
        self, x: Tensor, context: Context | None = None, *, aux: Latents | None = None
    ) -> tuple[Latents, Tensor]:
        return (torch.asinh(x),), -0.5 * torch.log1p(x.square()).sum(dim=1)

    def from_latent(self, latents: Latents, context: Context | None = None) -> Tensor:
        return torch.sinh(self.temperature * latents[0])


@pytest.mark.parametrize("num_dims", [2, 64, pytest.param(3072, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("temperature", "refuted"), [(1.0, False), (0.97, True)])
def test_in_a_flow_a_temperature_of_097_shows(
    result: BuildResult, num_dims: int, temperature: float, refuted: bool
) -> None:
    value = measure(Stretched(num_dims, temperature), result)
    assert (SAMPLE_AGREEMENT.refutation(value) is not None) == refuted, value


def test_a_missing_mode_is_refuted(result: BuildResult) -> None:
    value = measure(Mixture(2, first=0.7), result)
    assert str(SAMPLE_AGREEMENT.refutation(value)).startswith("Samples against density, p")


def test_p_values_are_uniform_at_most(result: BuildResult) -> None:
    rng = np.random.default_rng(1)
    symmetric = rng.standard_cauchy(size=(2000, 3, 60))
    found = np.array([p_value(one) for one in symmetric])
    for level in (0.5, 0.1, 0.01):
        assert (found <= level).mean() < level + 4 * math.sqrt(level / len(found))


def test_what_does_not_change_says_nothing() -> None:
    assert p_value(np.zeros((3, 50))) == 1.0
    assert p_value(np.full((3, 50), np.nan)) == 1.0


class Guided(SamplingOptions):
    guidance: float = 0.0


class GuidedConfig(ModelConfig):
    sampling = Guided


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        (SampleSettings(temperature=0.8), "drawn with {'temperature': 0.8}"),
        (SampleSettings(options={"guidance": 2.0}), "drawn with {'options': {'guidance': 2.0}}"),
    ],
)
def test_other_samples_than_the_densitys_make_no_claim(
    result: BuildResult, sample: SampleSettings, says: str
) -> None:
    value = measure(Mixture(), result, sample=sample, config=GuidedConfig())
    assert value.status == "unavailable"
    assert says in str(value.reason)


def test_what_has_no_ratios_cannot_be_tested(result: BuildResult) -> None:
    random = measure(Mixture(noise=0.1), result)
    assert "random in itself" in str(random.reason)
    integers = ModelConfig(preprocessing=Preprocessing(support="discrete"))
    assert "integers" in str(measure(Mixture(), result, config=integers).reason)
    given = measure(Mixture(), result, kind={"given": ("label",)})
    assert "given label" in str(given.reason)


def test_noisy_data_have_a_density_of_their_own(result: BuildResult) -> None:
    noisy = ModelConfig(preprocessing=Preprocessing(noise=GaussianNoise(sigma=0.1)))
    value = measure(Mixture(), result, config=noisy, kind={"measure": "noisy"})
    assert value.value is not None
    assert value.value > 1e-3


def test_samples_without_a_density_are_a_failure(result: BuildResult) -> None:
    value = measure(Mixture(shift=math.nan), result)
    assert value.status == "failed"
    assert "have no finite density" in str(value.reason)
