from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from flowbench.api import (
    DatasetInfo,
    GaussianNoise,
    Preprocessing,
    Split,
    Standardise,
    Target,
    standard_normal_log_prob,
)
from flowbench.data.preprocess import Preprocessor
from flowbench.data.target import TargetDensity
from flowbench.errors import ConfigError, ShapeError

INFO = DatasetInfo(
    name="a-target",
    modality="vector",
    event_shape=(2,),
    levels=None,
    num_train=100,
    num_validation=10,
    num_test=10,
    target=Target(log_density="m:f"),
)
STANDARDISED = Preprocessing(bijections=(Standardise(per="dim"),))


def fitted(config: Preprocessing) -> Preprocessor:
    preprocessor = Preprocessor(config, INFO)
    x = np.random.default_rng(0).normal((1000.0, -3.0), (5.0, 0.1), (100, 2))
    preprocessor.fit(Split(x=x))
    return preprocessor


def log_normal(x: Tensor) -> Tensor:
    return standard_normal_log_prob((x,))


@pytest.mark.parametrize("config", [Preprocessing(), STANDARDISED])
def test_a_density_in_the_models_space_is_that_of_raw_values_less_the_ladj(
    config: Preprocessing,
) -> None:
    preprocessor = fitted(config)
    target = TargetDensity(log_density=log_normal, preprocessor=preprocessor)
    raw = torch.tensor([[1.0, 2.0], [-0.5, 0.25]], dtype=torch.float64)
    y, ladj = preprocessor.forward(raw, None)
    # Standardised, 1 is 200 standard deviations off, where float32 keeps five digits of it.
    torch.testing.assert_close(target(y), (log_normal(raw) - ladj).float(), rtol=1e-3, atol=1e-3)
    assert target(y).dtype == torch.float32


def test_its_gradient_goes_through_the_preprocessing() -> None:
    preprocessor = Preprocessor(STANDARDISED, INFO, dtype=torch.float64)
    preprocessor.fit(Split(x=np.random.default_rng(0).normal(1.0, 2.0, (100, 2))))
    target = TargetDensity(log_density=log_normal, preprocessor=preprocessor)
    y = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(target, (y,))


@pytest.mark.parametrize("wrong", [lambda x: x.sum(), lambda x: x, lambda x: x.sum(1, True)])
def test_a_log_density_of_another_shape_is_refused(wrong: object) -> None:
    target = TargetDensity(log_density=wrong, preprocessor=fitted(Preprocessing()))  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"log_density returned shape .*; expected \(4,\), summed"):
        target(torch.zeros(4, 2))


def test_noise_is_for_examples() -> None:
    with pytest.raises(ConfigError, match="'a-target' is a density without any; leave the noise"):
        Preprocessor(Preprocessing(noise=GaussianNoise(sigma=0.1)), INFO)
    Preprocessor(
        Preprocessing(noise=GaussianNoise(sigma=0.1)), dataclasses.replace(INFO, target=None)
    )


def test_far_off_it_is_a_number() -> None:
    target = TargetDensity(log_density=log_normal, preprocessor=fitted(STANDARDISED))
    assert math.isfinite(float(target(torch.full((1, 2), 1e6))))
