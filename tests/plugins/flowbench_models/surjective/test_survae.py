from __future__ import annotations

from typing import Any

import pytest
import torch

from flowbench_models.surjective.survae import SurVAE, SurVAEConfig
from tests.plugins.flowbench_models.fixtures import (
    AssertBoundTightens,
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
    TrainOn,
)

SIZES = {"max-pool": 32, "no-pool": 32, "max-pool-imagenet64": 64, "no-pool-imagenet64": 64}
TINY: dict[str, Any] = {"steps": 1, "width": 3, "depth": 1, "growth": 2, "dequantizer_steps": 1}
TINY |= {"context_width": 2, "context_growth": 2}


@pytest.mark.parametrize("preset", SIZES)
def test_paper_presets_have_the_count_of_the_released_code(
    preset: str, dataset: MakeDataset
) -> None:
    size = SIZES[preset]
    config = SurVAEConfig.model_validate(SurVAEConfig.presets[preset].values)
    with torch.device("meta"):
        model = SurVAE(config, dataset(3, size, size, levels=256))
    assert sum(p.numel() for p in model.parameters()) == 105_023_968
    assert "105,023,968" in SurVAEConfig.presets[preset].summary


@pytest.mark.parametrize("pooling", ["max", "none"])
def test_uniform_latents_and_data_map_to_each_other_with_the_jacobians_ladj(
    pooling: str, dataset: MakeDataset, perturb: Perturb, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    config = SurVAEConfig(**{**TINY, "pooling": pooling, "dequantization": "uniform"})
    model = perturb(SurVAE(config, dataset(1, 4, 4)))
    x = torch.randn(3, 1, 4, 4, dtype=torch.float64)
    latents, ladj = model.to_latent(x)
    assert tuple(tuple(z.shape[1:]) for z in latents) == model.latent_shapes()
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-6)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooling", ["max", "none"])
def test_latents_drawn_come_back(pooling: str, dataset: MakeDataset, perturb: Perturb) -> None:
    config = SurVAEConfig(**{**TINY, "pooling": pooling, "dequantization": "uniform"})
    model = perturb(SurVAE(config, dataset(1, 4, 4)))
    drawn = model.sample_base(
        5, temperature=1.0, generator=torch.Generator(), device=torch.device("cpu")
    )
    assert model.base_log_prob(drawn).isfinite().all()
    again, _ = model.to_latent(model.from_latent(drawn))
    torch.testing.assert_close(again, drawn, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooling", ["max", "none"])
def test_levels_come_back_and_the_bound_tightens(
    pooling: str, dataset: MakeDataset, perturb: Perturb, assert_bound_tightens: AssertBoundTightens
) -> None:
    model = perturb(SurVAE(SurVAEConfig(**{**TINY, "pooling": pooling}), dataset(1, 4, 4)))
    x = torch.randint(17, (8, 1, 4, 4))
    latents, _ = model.to_latent(x, aux=model.sample_aux(x, generator=None))
    assert torch.equal(model.from_latent(latents), x)
    assert_bound_tightens(model, x)


def test_it_learns_one_batch(dataset: MakeDataset, train_on: TrainOn) -> None:
    model = SurVAE(SurVAEConfig(**TINY), dataset(1, 4, 4))
    train_on(model, torch.randint(4, (16, 1, 4, 4)), 40)


def test_sizes_that_do_not_fit_are_refused_by_name(dataset: MakeDataset) -> None:
    config = SurVAEConfig(scales=2)
    assert "scales=2" in str(config.unsupported(dataset(1, 6, 6)))
    assert "real values" in str(config.unsupported(dataset(1, 8, 8, levels=None)))
