from __future__ import annotations

from typing import Any

import pytest
import torch

from flowbench_models.coupling.anf import ANF, ANFConfig
from tests.plugins.flowbench_models.fixtures import (
    AssertBoundTightens,
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
)

TINY: dict[str, Any] = {"pairs": 2, "width": 4, "blocks": 1, "noise_channels": 2}
TINY |= {"dequantizer_width": 4, "context_width": 4}


def test_noise_and_latents_map_to_each_other_with_the_jacobians_ladj(
    dataset: MakeDataset, perturb: Perturb, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    config = ANFConfig(**{**TINY, "dequantization": "uniform"})
    model = perturb(ANF(config, dataset(1, 4, 4)), 0.1)
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    noise = torch.randn(2, 2, 2, 2, dtype=torch.float64)
    latents, ladj = model.to_latent(x, aux=(noise,))
    assert tuple(tuple(z.shape[1:]) for z in latents) == model.latent_shapes()
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-6)
    joint = torch.cat((x.flatten(1), noise.flatten(1)), dim=1)
    expected = jacobian_log_abs_det(
        lambda event: model.to_latent(
            event[:, :16].view(1, 1, 4, 4), aux=(event[:, 16:].view(1, 2, 2, 2),)
        )[0],
        joint,
    )
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-6)


def test_each_pair_transforms_the_noise_then_the_image(
    dataset: MakeDataset, perturb: Perturb
) -> None:
    config = ANFConfig(**{**TINY, "pairs": 1, "dequantization": "uniform"})
    model = perturb(ANF(config, dataset(1, 4, 4)), 0.1)
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    noise = torch.randn(1, 2, 2, 2, dtype=torch.float64)
    by_noise = torch.autograd.functional.jacobian(
        lambda noise: model.to_latent(x, aux=(noise,))[0][0], noise
    )
    # The new noise is affine in the noise, the new image sees all of it.
    of_new_noise = by_noise[0, 4:].flatten(3).flatten(0, 2)
    assert (of_new_noise != 0).sum() == 2 * 2 * 2
    assert (by_noise[0, :4] != 0).all()


@pytest.mark.slow
def test_levels_come_back_and_the_bound_tightens(
    dataset: MakeDataset, perturb: Perturb, assert_bound_tightens: AssertBoundTightens
) -> None:
    model = perturb(ANF(ANFConfig(**TINY), dataset(1, 4, 4)), 0.1)
    x = torch.randint(17, (8, 1, 4, 4))
    latents, _ = model.to_latent(x, aux=model.sample_aux(x, generator=None))
    assert torch.equal(model.from_latent(latents), x)
    assert_bound_tightens(model, x)


def test_presets_of_the_paper_say_what_is_an_assumption(dataset: MakeDataset) -> None:
    assumed = ANFConfig.presets["cifar10"].assumptions
    assert any("no count is claimed" in assumption for assumption in assumed)
    assert "squeezes=2" in str(ANFConfig(squeezes=2).unsupported(dataset(1, 6, 6)))
