from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from flowbench_models.autoregressive.macow.config import MaCowConfig
from flowbench_models.autoregressive.macow.model import MaCow, MaskedConv, NormalisedNet
from flowbench_models.bijections.base import Shift, SigmoidAffine
from tests.plugins.flowbench_models.fixtures import (
    AssertBoundTightens,
    AssertIsBijection,
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
    TrainOn,
)

# Of the released code's own configurations.
COUNTS = {
    "cifar10": (32, 37_197_547),
    "cifar10-vdq": (32, 38_403_423),
    "imagenet64": (64, 117_244_127),
    "imagenet64-vdq": (64, 123_100_393),
    "celeba256-vdq": (256, 177_288_157),
}
TINY: dict[str, Any] = {
    "levels": {"steps": ((1,), (1, 1), (1,)), "factors": (4,), "widths": (4, 4, 4)},
    "dequantizer": {"steps": ((1,), (1,)), "widths": (4, 4)},
    "context_width": 4,
}


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("preset", COUNTS)
def test_paper_presets_have_the_counts_of_the_released_code(
    preset: str, dataset: MakeDataset
) -> None:
    size, count = COUNTS[preset]
    config = MaCowConfig.model_validate(MaCowConfig.presets[preset].values)
    with torch.device("meta"):
        model = MaCow(config, dataset(3, size, size, levels=256))
    assert sum(p.numel() for p in model.parameters()) == count
    assert f"{count:,}" in MaCowConfig.presets[preset].summary


@pytest.mark.parametrize("by_rows", [True, False])
@pytest.mark.parametrize("backwards", [True, False])
def test_masked_convolutions_are_bijections_in_four_directions(
    by_rows: bool, backwards: bool, perturb: Perturb, assert_is_bijection: AssertIsBijection
) -> None:
    conv = MaskedConv(
        2, SigmoidAffine(shift_last=True), reach=2, span=3, by_rows=by_rows, backwards=backwards
    )
    assert_is_bijection(perturb(conv), torch.randn(2, 2, 4, 3, dtype=torch.float64))


@pytest.mark.parametrize("by_rows", [True, False])
@pytest.mark.parametrize("backwards", [True, False])
def test_a_line_depends_on_so_many_lines_on_one_side(
    by_rows: bool, backwards: bool, perturb: Perturb
) -> None:
    conv = perturb(MaskedConv(1, Shift(), reach=2, span=3, by_rows=by_rows, backwards=backwards))
    x = torch.randn(1, 1, 6, 6, dtype=torch.float64)
    moved = x.clone()
    (moved[:, :, 3] if by_rows else moved[..., 3]).add_(1.0)
    change = (conv(moved)[0] - conv(x)[0]).abs().amax(dim=(0, 1, 3 if by_rows else 2))
    assert (change > 1e-9).nonzero().flatten().tolist() == ([1, 2, 3] if backwards else [3, 4, 5])


@pytest.mark.parametrize("channels", [1, 3])
def test_data_and_latents_map_to_each_other_with_the_jacobians_ladj(
    channels: int, dataset: MakeDataset, perturb: Perturb, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    config = MaCowConfig(**TINY, dequantization="uniform")
    model = perturb(MaCow(config, dataset(channels, 4, 4)), 0.05)
    x = torch.randn(2, channels, 4, 4, dtype=torch.float64)
    latents, ladj = model.to_latent(x)
    assert tuple(tuple(z.shape[1:]) for z in latents) == model.latent_shapes()
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-6)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-6)


def test_additive_levels_keep_affine_splits(dataset: MakeDataset) -> None:
    model = MaCow(MaCowConfig(**TINY, coupling="additive"), dataset(3, 8, 8))
    outputs = [
        net.output.weight.shape[0] for net in model.flow.modules() if isinstance(net, NormalisedNet)
    ]
    # Couplings of 3, 12, 9 and 24 channels, and splits by two times 3 channels behind the inner.
    assert outputs == [1, 6, 2 * 3, 4, 2 * 3, 12]


@pytest.mark.slow
def test_levels_come_back_and_the_bound_tightens(
    dataset: MakeDataset, perturb: Perturb, assert_bound_tightens: AssertBoundTightens
) -> None:
    model = perturb(MaCow(MaCowConfig(**TINY), dataset(1, 4, 4)), 0.05)
    x = torch.randint(17, (8, 1, 4, 4))
    latents, _ = model.to_latent(x, aux=model.sample_aux(x, generator=None))
    assert torch.equal(model.from_latent(latents), x)
    assert_bound_tightens(model, x)


@pytest.mark.slow
def test_it_learns_one_batch(dataset: MakeDataset, train_on: TrainOn) -> None:
    model = MaCow(MaCowConfig(**TINY), dataset(1, 4, 4))
    train_on(model, torch.randint(4, (16, 1, 4, 4)), 10)


def test_sizes_that_do_not_fit_are_refused_by_name(dataset: MakeDataset) -> None:
    config = MaCowConfig(**TINY)
    assert "3 levels" in str(config.unsupported(dataset(1, 6, 6)))
    assert "real values" in str(config.unsupported(dataset(1, 8, 8, levels=None)))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"widths": (4, 4)}, "3 levels need 1 factors and 3 widths"),
        ({"factors": ()}, "3 levels need 1 factors"),
        ({"steps": ((1,), (1, 1, 1, 1), (1,))}, "which factor 4 cannot"),
        ({"steps": ((1, 1), (1,), (1,))}, "are one number"),
        ({"span": 2}, "span 2 is odd"),
    ],
)
def test_levels_that_contradict_each_other_are_refused(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem):
        MaCowConfig.model_validate({"levels": {**TINY["levels"], **changes}})
