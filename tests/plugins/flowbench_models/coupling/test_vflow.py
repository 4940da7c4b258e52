from __future__ import annotations

from typing import Any

import pytest
import torch

from flowbench_models.coupling.vflow import VFlow, VFlowConfig
from tests.plugins.flowbench_models.fixtures import (
    AssertBoundTightens,
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
)

# By hand from the layers of the released code: three, two and one block in the noise's networks.
COUNTS = {"cifar10": 39_700_096, "two-blocks": 38_675_200, "one-block": 37_650_304}
TINY: dict[str, Any] = {"steps": (1, 1), "width": 4, "components": 2, "context_width": 4}
TINY |= {"dequantizer_steps": 1, "dequantizer_width": 4, "posterior_width": 4, "heads": 2}


@pytest.mark.parametrize("preset", COUNTS)
@pytest.mark.slow
def test_paper_presets_have_the_counts_of_the_released_code(
    preset: str, dataset: MakeDataset
) -> None:
    config = VFlowConfig.model_validate(VFlowConfig.presets[preset].values)
    with torch.device("meta"):
        model = VFlow(config, dataset(3, 32, 32, levels=256))
    assert sum(p.numel() for p in model.parameters()) == COUNTS[preset]
    assert f"{COUNTS[preset]:,}" in VFlowConfig.presets[preset].summary


def test_noise_and_latents_map_to_each_other_with_the_jacobians_ladj(
    dataset: MakeDataset, perturb: Perturb, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    config = VFlowConfig(**{**TINY, "dequantization": "uniform"})
    model = perturb(VFlow(config, dataset(1, 2, 4)), 0.1).eval()
    joint = torch.randn(2, 2, 2, 4, dtype=torch.float64)
    latents, ladj = model.to_latent(joint[:, :1], aux=(joint[:, 1:],))
    assert tuple(tuple(z.shape[1:]) for z in latents) == model.latent_shapes()
    torch.testing.assert_close(model.from_latent(latents), joint[:, :1], rtol=0, atol=1e-6)
    expected = jacobian_log_abs_det(
        lambda event: model.to_latent(event[:, :1], aux=(event[:, 1:],))[0], joint
    )
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_levels_come_back_and_the_bound_tightens(
    dataset: MakeDataset, perturb: Perturb, assert_bound_tightens: AssertBoundTightens
) -> None:
    model = perturb(VFlow(VFlowConfig(**TINY), dataset(1, 4, 4)), 0.1).eval()
    x = torch.randint(17, (8, 1, 4, 4))
    latents, _ = model.to_latent(x, aux=model.sample_aux(x, generator=None))
    assert torch.equal(model.from_latent(latents), x)
    assert_bound_tightens(model, x)


def test_channels_count_with_those_of_the_noise(dataset: MakeDataset) -> None:
    config = VFlowConfig(splits=("channels", "columns"), squeezes=(0, 1), extra_channels=2)
    assert "vflow halves channels" in str(config.unsupported(dataset(3, 8, 8)))
    assert config.unsupported(dataset(2, 8, 8)) is None
