from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from flowbench.api import Batch, DatasetInfo, SamplingOptions
from flowbench.errors import ConfigError
from flowbench_models import gaussian
from flowbench_models.gaussian import Gaussian, GaussianConfig
from tests.plugins.flowbench_models.fixtures import JacobianLogAbsDet, tensor

WEIGHTS, STD = (1.2, -0.6), 0.3  # of the values one and two before
RATE = -0.5 * math.log(2 * math.pi * math.e * STD**2)  # mean log-density of a value, in nats
CLIPS = DatasetInfo(
    name="clips",
    modality="audio",
    event_shape=(1, 500),
    levels=None,
    num_train=300,
    num_validation=1,
    num_test=1,
)


def drawn(num: int, seed: int) -> tuple[Tensor, Tensor]:
    """Waveforms of the known process, and the log-density of each."""
    length, (first, second) = CLIPS.event_shape[-1], WEIGHTS
    noise = np.random.default_rng(seed).standard_normal((num, length))
    x = np.zeros((num, length + 2))
    for t in range(length):
        x[:, t + 2] = first * x[:, t + 1] + second * x[:, t] + STD * noise[:, t]
    log_prob = -0.5 * (noise**2).sum(axis=1) - length * math.log(STD * math.sqrt(2 * math.pi))
    return torch.from_numpy(x[:, None, 2:]), torch.from_numpy(log_prob)


def fitted(x: Tensor, order: int = 4) -> Gaussian:
    model = Gaussian(GaussianConfig(order=order), CLIPS).double()
    model.initialize(Batch(x=x), generator=torch.Generator())
    return model


@pytest.fixture(scope="module")
def known() -> Gaussian:
    return fitted(drawn(300, seed=0)[0])


def test_the_likelihood_of_a_known_process_is_the_true_one(known: Gaussian) -> None:
    x, expected = drawn(200, seed=1)
    found = tensor(known.log_prob(x)) / x.shape[-1]
    # Other draws than those it was fitted to: that costs 2.5 parameters / 150,000 values.
    assert abs(float((found - expected / x.shape[-1]).mean())) < 1e-4
    assert float(found.mean()) == pytest.approx(RATE, abs=4 * float(found.std()) / 200**0.5)
    near, far = known.weights.flip(0)[:2].tolist(), known.weights.flip(0)[2:].tolist()
    assert near == pytest.approx(WEIGHTS, abs=0.02)
    assert far == pytest.approx((0.0, 0.0), abs=0.02)


def test_samples_are_of_the_process(known: Gaussian) -> None:
    generator = torch.Generator().manual_seed(0)
    x = tensor(known.sample(400, settings=SamplingOptions(), generator=generator))
    assert x.shape == (400, 1, 500)
    log_prob = tensor(known.log_prob(x)) / 500
    assert float(log_prob.mean()) == pytest.approx(RATE, abs=4 * float(log_prob.std()) / 20)
    x = x[..., 100:]
    correlation = float((x[..., 1:] * x[..., :-1]).mean() / x.square().mean())
    assert correlation == pytest.approx(WEIGHTS[0] / (1 - WEIGHTS[1]), abs=0.02)


def test_ladj_is_that_of_the_jacobian_and_the_inverse_comes_back(
    known: Gaussian, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    x = torch.randn(1, 1, 12, dtype=torch.float64)
    latents, ladj = known.to_latent(x)
    expected = jacobian_log_abs_det(lambda event: known.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(known.from_latent(latents), x, rtol=0, atol=1e-10)


def test_moments_in_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = drawn(20, seed=2)
    whole = fitted(x)
    monkeypatch.setattr(gaussian, "FITTED_BATCH", 7)
    torch.testing.assert_close(fitted(x).weights, whole.weights)


@pytest.mark.parametrize("x", [torch.zeros(3, 1, 500), torch.arange(500.0).sin().expand(3, 1, 500)])
def test_what_can_be_foretold_has_a_density_all_the_same(x: Tensor) -> None:
    model = fitted(x.double())
    assert tensor(model.log_prob(x.double())).isfinite().all()
    assert model.optimizer_groups() == {}


def test_short_waveforms_are_predicted_from_what_there_is() -> None:
    model = Gaussian(GaussianConfig(order=9), replace(CLIPS, event_shape=(1, 2)))
    assert model.weights.shape == (1,)
    with pytest.raises(ConfigError, match="one channel are modelled, clips has 2"):
        Gaussian(GaussianConfig(), replace(CLIPS, event_shape=(2, 500)))
