from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from flowbench_models.coupling.jet import Jet, JetConfig, Reordered
from tests.plugins.flowbench_models.fixtures import (
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
    TrainOn,
)

TINY: dict[str, Any] = {"width": 4, "head_dim": 2}


@pytest.mark.parametrize(("preset", "layers"), [("32x2", 2), ("64x5", 5)])
@pytest.mark.slow
def test_paper_presets_have_the_layers_of_the_released_code(
    preset: str, layers: int, dataset: MakeDataset
) -> None:
    config = JetConfig.model_validate(JetConfig.presets[preset].values)
    with torch.device("meta"):
        model = Jet(config, dataset(3, 64, 64, levels=256))
    width, values, tokens = 512, 24, 256
    layer = 12 * width**2 + 13 * width
    ends = width * (values + 1) + width * tokens + 2 * width + 2 * values * (width + 1)
    count = config.couplings * (layers * layer + ends)
    assert sum(p.numel() for p in model.parameters()) == count
    assert f"{count:,}" in JetConfig.presets[preset].summary


def test_data_and_latents_map_to_each_other_with_the_jacobians_ladj(
    dataset: MakeDataset, perturb: Perturb, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    config = JetConfig(**TINY, couplings=3, kinds=("channels", "spatial"))
    model = perturb(Jet(config, dataset(1, 4, 4)))
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    latents, ladj = model.to_latent(x)
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-6)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-6)


def _passing(model: Jet, index: int) -> torch.Tensor:
    """Where the values that a coupling does not move are in an image, one channel of 8x8."""
    part = list(model.flow.parts())[index]
    assert isinstance(part, Reordered)
    half = len(part.permutation.order) // 2
    mask = torch.zeros(64, dtype=torch.bool)
    mask[part.permutation.order[:half]] = True
    return mask.view(8, 8)


def test_couplings_of_patches_take_checkerboards_columns_and_rows_in_turn(
    dataset: MakeDataset,
) -> None:
    model = Jet(JetConfig(**TINY, couplings=6, kinds=("spatial",)), dataset(1, 8, 8))
    row, column = torch.meshgrid(torch.arange(8) // 2, torch.arange(8) // 2, indexing="ij")
    parities = [row + column, column, row]
    for index, (parity, opposite) in enumerate(itertools.product(parities, (0, 1))):
        assert torch.equal(_passing(model, index), parity % 2 == opposite)


def test_couplings_of_values_halve_each_patch_in_another_way(dataset: MakeDataset) -> None:
    model = Jet(JetConfig(**TINY, couplings=4), dataset(1, 8, 8))
    masks = [_passing(model, index) for index in range(4)]
    for mask in masks:
        patches = mask.view(4, 2, 4, 2).transpose(1, 2).flatten(2)
        assert (patches == patches[0, 0]).all()
        assert patches[0, 0].sum() == 2
    assert any(not torch.equal(mask, masks[0]) for mask in masks)


def test_a_fresh_model_is_the_identity(dataset: MakeDataset) -> None:
    model = Jet(JetConfig(**TINY), dataset(1, 4, 4)).double()
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    (z,), ladj = model.to_latent(x)
    torch.testing.assert_close(z, x.flatten(1))
    torch.testing.assert_close(ladj, torch.zeros_like(ladj))


@pytest.mark.slow
def test_it_learns_one_batch(dataset: MakeDataset, train_on: TrainOn) -> None:
    train_on(Jet(JetConfig(**TINY), dataset(1, 4, 4)), torch.rand(16, 1, 4, 4), 30)


def test_what_does_not_fit_is_refused_by_name(dataset: MakeDataset) -> None:
    assert "patch_size=2" in str(JetConfig().unsupported(dataset(1, 6, 6)))
    assert "halves the values" in str(JetConfig(patch_size=1).unsupported(dataset(1, 4, 4)))
    assert "needs images" in str(JetConfig().unsupported(dataset(5)))
    with pytest.raises(ValidationError, match="multiple of head_dim"):
        JetConfig(width=65)
