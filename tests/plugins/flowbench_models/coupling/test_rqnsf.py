from __future__ import annotations

from typing import Any

import pytest
import torch

from flowbench.api import Batch
from flowbench.errors import ConfigError
from flowbench_models.bijections.base import HalfCoupling
from flowbench_models.bijections.channels import FactorOut
from flowbench_models.coupling.rqnsf import RQNSF, FlooredSigmoidAffine, RQNSFConfig
from tests.plugins.flowbench_models.fixtures import (
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
    TrainOn,
)

COUNTS = {
    "cifar10": (32, 11_835_054),
    "cifar10-affine": (32, 11_065_068),
    "cifar10-5bit": (32, 5_333_538),
    "cifar10-5bit-affine": (32, 5_161_548),
    "imagenet64": (64, 15_553_554),
    "imagenet64-affine": (64, 14_270_244),
}


def _preset(name: str) -> RQNSFConfig:
    return RQNSFConfig.model_validate(RQNSFConfig.presets[name].values)


@pytest.mark.parametrize("preset", COUNTS)
def test_paper_presets_have_the_counts_of_the_released_code(
    preset: str, dataset: MakeDataset
) -> None:
    size, count = COUNTS[preset]
    with torch.device("meta"):
        model = RQNSF(_preset(preset), dataset(3, size, size, levels=256))
    assert sum(p.numel() for p in model.parameters()) == count
    assert f"{count:,}" in RQNSFConfig.presets[preset].summary


FORMS: dict[str, dict[str, Any]] = {
    "spline": {"batch_norm": True},
    "affine": {"coupling": "affine"},
    "one scale": {"multi_scale": False, "batch_norm": False},
}


@pytest.mark.parametrize("form", FORMS)
def test_latents_and_data_map_to_each_other_with_the_jacobians_ladj(
    form: str, dataset: MakeDataset, perturb: Perturb, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    config = RQNSFConfig(levels=2, steps=2, width=4, bins=3, **FORMS[form])
    model = perturb(RQNSF(config, dataset(2, 4, 4)), 0.1).eval()
    model.initialize(
        Batch(x=torch.randn(8, 2, 4, 4, dtype=torch.float64)), generator=torch.Generator()
    )
    x = 2.0 * torch.randn(2, 2, 4, 4, dtype=torch.float64)
    latents, ladj = model.to_latent(x)
    assert tuple(tuple(z.shape[1:]) for z in latents) == model.latent_shapes()
    assert sum(z[0].numel() for z in latents) == 32
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-6)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-5)


def test_the_second_half_conditions_and_the_first_half_leaves(dataset: MakeDataset) -> None:
    model = RQNSF(RQNSFConfig(levels=2, steps=1, width=4), dataset(1, 4, 4))
    (split,) = model.flow.splits
    assert isinstance(split, FactorOut)
    x = torch.arange(4.0).view(1, 4, 1, 1)
    kept, latent, _ = split(x)
    assert kept.flatten().tolist() == [2, 3]
    assert latent.flatten().tolist() == [0, 1]
    assert torch.equal(split.inverse(kept, latent), x)
    couplings = [module for module in model.modules() if isinstance(module, HalfCoupling)]
    x = torch.randn(1, 4, 2, 2)
    z, _ = couplings[0](x)
    assert torch.equal(z[:, 2:], x[:, 2:])
    assert not torch.equal(z[:, :2], x[:, :2])


def test_affine_law_of_the_baseline_has_a_floor() -> None:
    far = torch.tensor([[0.0, -100.0]])
    _, log_derivative = FlooredSigmoidAffine()(torch.ones(1, 1), far)
    assert log_derivative.exp().item() == pytest.approx(1e-3)


def test_training_on_a_batch_lowers_its_loss(dataset: MakeDataset, train_on: TrainOn) -> None:
    model = RQNSF(RQNSFConfig(levels=1, steps=2, width=8), dataset(1, 4, 4))
    train_on(model, torch.rand(32, 1, 4, 4) - 0.5, 40)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 64, 64)], ids=str)
def test_default_preset_runs_on_images(shape: tuple[int, ...], dataset: MakeDataset) -> None:
    data = dataset(*shape, levels=256)
    assert _preset(RQNSFConfig.default_preset(data)).unsupported(data) is None


@pytest.mark.parametrize("shape", [(2,), (3, 6, 6)], ids=str)
def test_what_does_not_fit_is_refused_with_a_reason(
    shape: tuple[int, ...], dataset: MakeDataset
) -> None:
    with pytest.raises(ConfigError, match="rqnsf with levels=3 needs"):
        RQNSF(RQNSFConfig(), dataset(*shape))


@pytest.mark.parametrize("name", RQNSFConfig.presets)
def test_every_preset_is_a_valid_configuration(name: str) -> None:
    _preset(name)
