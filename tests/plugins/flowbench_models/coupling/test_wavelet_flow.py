from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from flowbench.api import Batch, Phase, Step, Training, bits_per_dim, split_info
from flowbench_models.coupling.wavelet_flow import Haar, WaveletFlow, WaveletFlowConfig
from tests.plugins.flowbench_models.fixtures import (
    AssertIsBijection,
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
    TrainOn,
)

COUNTS = {"imagenet32": (32, 64_225_936), "imagenet64": (64, 96_139_794)}
TINY: dict[str, Any] = {"steps": (1, 2, 1), "widths": (4, 4, 4)}


@pytest.mark.parametrize("preset", COUNTS)
@pytest.mark.slow
def test_paper_presets_have_the_counts_of_the_released_code(
    preset: str, dataset: MakeDataset
) -> None:
    size, count = COUNTS[preset]
    config = WaveletFlowConfig.model_validate(WaveletFlowConfig.presets[preset].values)
    with torch.device("meta"):
        model = WaveletFlow(config, dataset(3, size, size, levels=256))
    assert sum(p.numel() for p in model.parameters()) == count
    assert f"{count:,}" in WaveletFlowConfig.presets[preset].summary


def test_haar_wavelets_are_a_bijection(assert_is_bijection: AssertIsBijection) -> None:
    assert_is_bijection(Haar().double(), torch.randn(2, 2, 4, 4, dtype=torch.float64))


@pytest.mark.parametrize("channels", [1, 2])
def test_data_and_latents_map_to_each_other_with_the_jacobians_ladj(
    channels: int, dataset: MakeDataset, perturb: Perturb, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    model = perturb(WaveletFlow(WaveletFlowConfig(**TINY), dataset(channels, 4, 4)), 0.1)
    x = torch.randn(2, channels, 4, 4, dtype=torch.float64)
    latents, ladj = model.to_latent(x)
    assert tuple(tuple(z.shape[1:]) for z in latents) == model.latent_shapes()
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-6)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-6)


def test_bits_of_levels_add_up_to_those_of_the_image(
    dataset: MakeDataset, perturb: Perturb
) -> None:
    model = perturb(WaveletFlow(WaveletFlowConfig(**TINY), dataset(2, 4, 4)), 0.1)
    log_prob, info = split_info(model.log_prob(torch.randn(3, 2, 4, 4, dtype=torch.float64)))
    assert list(info) == ["bits_level_0", "bits_level_1", "bits_level_2"]
    torch.testing.assert_close(sum(info.values()), bits_per_dim(log_prob, 32))


def test_levels_in_turn_move_one_by_one_and_as_together(
    dataset: MakeDataset, perturb: Perturb
) -> None:
    phases = tuple(Phase(share=1 / 3) for _ in range(3))
    config = WaveletFlowConfig(**TINY, trained="in turn", training=Training(phases=phases))
    model = perturb(WaveletFlow(config, dataset(2, 4, 4)), 0.1)
    together = WaveletFlow(WaveletFlowConfig(**TINY), dataset(2, 4, 4)).double()
    together.load_state_dict(model.state_dict())
    batch = Batch(x=torch.randn(3, 2, 4, 4, dtype=torch.float64))

    def step(phase: int) -> Step:
        generator = torch.Generator()
        return Step(progress=torch.zeros(()), phase=phase, group="all", generator=generator, seed=0)

    split_info(together.loss(batch, step(0)))[0].backward()
    for phase in range(3):
        model.zero_grad(set_to_none=True)
        split_info(model.loss(batch, step(phase)))[0].backward()
        for level, (flow, other) in enumerate(zip(model.flows, together.flows, strict=True)):
            for mine, its in zip(flow.parameters(), other.parameters(), strict=True):
                if level == phase:
                    torch.testing.assert_close(mine.grad, its.grad)
                else:
                    assert mine.grad is None


@pytest.mark.slow
def test_it_learns_one_batch(dataset: MakeDataset, train_on: TrainOn) -> None:
    model = WaveletFlow(WaveletFlowConfig(**TINY), dataset(1, 4, 4))
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(16, 1, 4, 4) - 0.5
    model.initialize(Batch(x=x), generator=generator)
    before = split_info(model.log_prob(x))[0].mean()
    train_on(model, x, 30)
    assert split_info(model.log_prob(x))[0].mean() > before


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"widths": (4, 4)}, "one for each level"),
        ({"trained": "in turn"}, "levels in turn need 3 training.phases, one for each, got 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem):
        WaveletFlowConfig(**{**TINY, **changes})


def test_sizes_that_do_not_fit_are_refused_by_name(dataset: MakeDataset) -> None:
    assert "3 levels" in str(WaveletFlowConfig(**TINY).unsupported(dataset(1, 6, 6)))
