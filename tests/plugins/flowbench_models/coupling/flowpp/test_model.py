from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from flowbench.api import Batch
from flowbench_models.coupling.flowpp.config import FlowPPConfig
from flowbench_models.coupling.flowpp.model import (
    ColumnDequantizer,
    ColumnMerge,
    ColumnSplit,
    ElementNorm,
    FlowPP,
    HalvesConv1x1,
)
from tests.plugins.flowbench_models.fixtures import (
    AssertBoundTightens,
    AssertIsBijection,
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
)

# As in the released code, but for position embeddings that it declares and never uses, on
# ImageNet 64x64: 73,489,960 with them.
COUNTS = {
    "cifar10": (32, 31_443_440),
    "uniform": (32, 32_324_408),
    "affine": (32, 32_045_708),
    "no-attention": (32, 31_443_440),
    "imagenet32": (32, 168_955_724),
    "imagenet64": (64, 73_489_960 - 4 * 64 * 32 * 96),
}
TINY: dict[str, Any] = {"steps": (1, 1), "width": 4, "components": 2, "context_width": 4}
TINY |= {"dequantizer_steps": 1, "dequantizer_width": 4, "heads": 2}


@pytest.mark.parametrize(
    "preset",
    [pytest.param(p, marks=[pytest.mark.slow] if p != "cifar10" else []) for p in COUNTS],
)
def test_paper_presets_have_the_counts_of_the_released_code(
    preset: str, dataset: MakeDataset
) -> None:
    size, count = COUNTS[preset]
    config = FlowPPConfig.model_validate(FlowPPConfig.presets[preset].values)
    with torch.device("meta"):
        model = FlowPP(config, dataset(3, size, size, levels=256))
    assert sum(p.numel() for p in model.parameters()) == count
    assert f"{count:,}" in FlowPPConfig.presets[preset].summary


def _tiny(dataset: MakeDataset, perturb: Perturb, **changes: Any) -> FlowPP:
    model = FlowPP(FlowPPConfig(**{**TINY, **changes}), dataset(1, 4, 4))
    return perturb(model, 0.1).eval()


FORMS: dict[str, dict[str, Any]] = {
    "mixtures": {},
    "affine": {"law": "affine", "mixing": "pointwise", "pointwise": False},
    "large": {"weight_norm": True, "output_elu": True, "mixing": "none"},
}


@pytest.mark.parametrize("form", FORMS)
def test_uniform_latents_and_data_map_to_each_other_with_the_jacobians_ladj(
    form: str, dataset: MakeDataset, perturb: Perturb, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    model = _tiny(dataset, perturb, dequantization="uniform", **FORMS[form])
    x = torch.randn(8, 1, 4, 4, dtype=torch.float64)
    model.initialize(Batch(x=x), generator=torch.Generator())
    latents, ladj = model.to_latent(x)
    assert tuple(tuple(z.shape[1:]) for z in latents) == model.latent_shapes()
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-6)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x[:2])
    torch.testing.assert_close(ladj[:2], expected, rtol=0, atol=1e-6)


def test_levels_come_back_and_the_bound_tightens(
    dataset: MakeDataset, perturb: Perturb, assert_bound_tightens: AssertBoundTightens
) -> None:
    model = _tiny(dataset, perturb, logit_alpha=0.05)
    x = torch.randint(17, (8, 1, 4, 4))
    latents, _ = model.to_latent(x, aux=model.sample_aux(x, generator=None))
    assert torch.equal(model.from_latent(latents), x)
    assert_bound_tightens(model, x)


@pytest.mark.parametrize("attention", [False, True])
def test_dequantizer_has_the_ladj_of_its_noise(
    attention: bool,
    dataset: MakeDataset,
    perturb: Perturb,
    jacobian_log_abs_det: JacobianLogAbsDet,
) -> None:
    config = FlowPPConfig(**TINY, context_norm=True, context_attention=attention)
    dequantizer = perturb(ColumnDequantizer(config, dataset(1, 4, 4)), 0.1)
    levels = torch.randint(17, (1, 1, 4, 4)).double()
    noise = torch.randn(2, 1, 4, 4, dtype=torch.float64)

    def draw(event: Tensor) -> tuple[Tensor, Tensor]:
        z, ladj = dequantizer(levels.expand(len(event), -1, -1, -1), event)
        return z - levels, ladj

    u, ladj = draw(noise)
    assert bool(((u > 0) & (u < 1)).all())
    expected = jacobian_log_abs_det(lambda event: draw(event)[0], noise)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-8)


def test_own_bijections(assert_is_bijection: AssertIsBijection, perturb: Perturb) -> None:
    x = torch.randn(3, 2, 2, 4, dtype=torch.float64)
    for bijection in (ColumnSplit(), ColumnMerge(), ElementNorm((2, 2, 4)), HalvesConv1x1(2)):
        assert_is_bijection(perturb(bijection), x)


def test_norms_start_from_each_element_of_a_first_batch() -> None:
    norm = ElementNorm((1, 2, 2))
    x = torch.randn(64, 1, 2, 2) * torch.tensor([[1.0, 2.0], [3.0, 0.0]]) + 5.0
    z = norm.initialize(x)
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(1, 2, 2), rtol=0, atol=1e-5)
    spread = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])  # what never changes is left as it is
    torch.testing.assert_close(z.std(dim=0, correction=0), spread)
    assert torch.equal(norm.initialize(2.0 * x), norm(2.0 * x)[0])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"steps": (1,)}, "splits"),
        ({"squeezes": (0, -1)}, "squeezes"),
        ({"width": 6, "heads": 4}, "width=6"),
    ],
)
def test_what_does_not_fit_together_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        FlowPPConfig(**changes)


def test_sizes_that_do_not_fit_are_refused_by_name(dataset: MakeDataset) -> None:
    config = FlowPPConfig()
    assert "divisible by 2" in str(config.unsupported(dataset(1, 5, 4)))
    assert "real values" in str(config.unsupported(dataset(1, 4, 4, levels=None)))
    channels = FlowPPConfig(splits=("channels",), steps=(1,), squeezes=(0,))
    assert "halves channels" in str(channels.unsupported(dataset(3, 4, 4)))
    assert config.unsupported(dataset(1, 4, 4)) is None
