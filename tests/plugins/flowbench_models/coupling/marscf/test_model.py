from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from flowbench_models.coupling.marscf.config import MARSCFConfig
from flowbench_models.coupling.marscf.model import MARSCF
from flowbench_models.coupling.marscf.prior import ChannelPrior
from tests.plugins.flowbench_models.fixtures import (
    AssertIsBijection,
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
    TrainOn,
)

COUNTS = {
    "c96": 46_011_410,
    "c256": 252_768_530,
    "affine-c256": 17_411_378,
    "affine-c512": 45_673_778,
}
UNUSED = 41_636
TINY: dict[str, Any] = {"steps": 1, "width": 4, "components": 2, "prior_width": 2}


@pytest.mark.parametrize("preset", [pytest.param(p, marks=[pytest.mark.slow]) for p in COUNTS])
def test_paper_presets_have_the_counts_of_the_released_code(
    preset: str, dataset: MakeDataset
) -> None:
    config = MARSCFConfig.model_validate(MARSCFConfig.presets[preset].values)
    with torch.device("meta"):
        model = MARSCF(config, dataset(3, 32, 32, levels=256))
    assert model.num_parameters() == COUNTS[preset]
    made = sum(p.numel() for p in model.parameters())
    assert COUNTS[preset] - made == UNUSED
    assert f"{COUNTS[preset]:,}" in MARSCFConfig.presets[preset].summary
    assert f"{UNUSED:,}" in MARSCFConfig.presets[preset].summary


def _prior(perturb: Perturb, num_context: int) -> ChannelPrior:
    return perturb(ChannelPrior(num_context, width=2, layers=2, kernel_size=3, dilation=2))


def test_a_prior_is_a_bijection(perturb: Perturb, assert_is_bijection: AssertIsBijection) -> None:
    prior = _prior(perturb, 0)
    assert_is_bijection(prior, torch.randn(2, 3, 3, 2, dtype=torch.float64))


def test_a_prior_sees_the_channels_before_and_the_context(perturb: Perturb) -> None:
    prior = _prior(perturb, 2)
    x = torch.randn(1, 3, 3, 3, dtype=torch.float64)
    context = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: prior(x, context)[0], x)
    seen = (jacobian.abs().amax(dim=(0, 2, 3, 4, 6, 7)) > 0).tolist()
    assert seen == [[True, False, False], [True, True, False], [True, True, True]]
    assert not torch.allclose(prior(x, context)[0], prior(x, context + 1.0)[0])
    torch.testing.assert_close(prior.inverse(prior(x, context)[0], context), x)


@pytest.mark.parametrize("coupling", ["mixture", "affine"])
def test_data_and_latents_map_to_each_other_with_the_jacobians_ladj(
    coupling: str, dataset: MakeDataset, perturb: Perturb, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    model = MARSCF(MARSCFConfig(**{**TINY, "coupling": coupling}), dataset(1, 4, 4))
    model = perturb(model, 0.1).eval()
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    latents, ladj = model.to_latent(x)
    assert tuple(tuple(z.shape[1:]) for z in latents) == model.latent_shapes()
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-6)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_it_learns_one_batch(dataset: MakeDataset, train_on: TrainOn) -> None:
    model = MARSCF(MARSCFConfig(**TINY), dataset(1, 4, 4))
    train_on(model, torch.rand(16, 1, 4, 4) - 0.5, 20)


def test_what_does_not_fit_is_refused_by_name(dataset: MakeDataset) -> None:
    assert "levels=2" in str(MARSCFConfig(levels=2).unsupported(dataset(1, 6, 6)))
    with pytest.raises(ValidationError, match="no even multiple of 4 heads"):
        MARSCFConfig(width=6)
