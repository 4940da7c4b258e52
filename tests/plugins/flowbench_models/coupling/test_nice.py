from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from flowbench.api import SamplingOptions
from flowbench.errors import ConfigError
from flowbench_models.coupling.nice import NICE, DiagonalScaling, NICEConfig
from tests.plugins.flowbench_models.fixtures import (
    AssertIsBijection,
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
    tensor,
)


def _preset(name: str) -> NICEConfig:
    return NICEConfig.model_validate(NICEConfig.presets[name].values)


@pytest.mark.parametrize(
    ("preset", "shape", "count"),
    [
        ("mnist", (1, 28, 28), 19_158_352),
        ("tfd", (1, 48, 48), 60_903_520),
        ("svhn", (3, 32, 32), 56_609_216),
        ("cifar10", (3, 32, 32), 93_591_360),
    ],
)
def test_paper_presets_have_the_counts_of_the_released_configurations(
    preset: str, shape: tuple[int, ...], count: int, dataset: MakeDataset
) -> None:
    with torch.device("meta"):
        model = NICE(_preset(preset), dataset(*shape, levels=256))
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.fixture(params=[(1, 2, 3), (2,), (5,)], ids=str)
def tiny(request: pytest.FixtureRequest, dataset: MakeDataset, perturb: Perturb) -> NICE:
    return perturb(NICE(NICEConfig(hidden_layers=(1, 0, 2), width=6), dataset(*request.param)))


def test_latents_and_data_map_to_each_other(tiny: NICE) -> None:
    x = torch.randn(3, *tiny.data.event_shape, dtype=torch.float64)
    latents, _ = tiny.to_latent(x)
    assert tuple(z.shape[1:] for z in latents) == tiny.latent_shapes()
    torch.testing.assert_close(tiny.from_latent(latents), x, rtol=0, atol=1e-6)


def test_ladj_is_the_sum_of_log_scales_and_that_of_the_jacobian(
    tiny: NICE, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    x = torch.randn(2, *tiny.data.event_shape, dtype=torch.float64)
    _, ladj = tiny.to_latent(x)
    expected = jacobian_log_abs_det(lambda event: tiny.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-5)
    scaling = tiny.flow.bijections[-1]
    assert isinstance(scaling, DiagonalScaling)
    torch.testing.assert_close(ladj, scaling.log_scale.sum().expand(2))


@pytest.mark.parametrize("prior", ["logistic", "gaussian"])
def test_prior_is_a_density_and_its_samples_follow_it(prior: str, dataset: MakeDataset) -> None:
    model = NICE(NICEConfig(prior=prior), dataset(2))
    axis = torch.linspace(-25, 25, 1001)
    zeros = torch.zeros_like(axis)
    at_zero = model.base_log_prob((torch.zeros(1, 2),)) / 2
    log_prob = model.base_log_prob((torch.stack((axis, zeros), dim=1),)) - at_zero
    torch.testing.assert_close(log_prob.exp().sum().item() * 0.05, 1.0, rtol=0, atol=1e-3)
    (z,) = model.sample_base(
        20_000,
        temperature=1.0,
        generator=torch.Generator().manual_seed(0),
        device=torch.device("cpu"),
    )
    below = (z < 1.0).double().mean()
    expected = (log_prob.exp() * (axis < 1.0)).sum() * 0.05
    torch.testing.assert_close(below.item(), expected.item(), rtol=0, atol=0.02)


def test_temperature_scales_the_noise(dataset: MakeDataset) -> None:
    model = NICE(NICEConfig(), dataset(2))
    cold, warm = (
        tensor(
            model.sample(
                5,
                settings=SamplingOptions(temperature=temperature),
                generator=torch.Generator().manual_seed(0),
            )
        )
        for temperature in (0.5, 1.0)
    )
    torch.testing.assert_close(2.0 * cold, warm)


def test_uniform_start_bounds_every_parameter_of_the_networks(dataset: MakeDataset) -> None:
    model = NICE(NICEConfig(init_bound=0.01), dataset(1, 4, 4))
    for coupling in list(model.flow.bijections)[1:-1]:
        for parameter in coupling.parameters():
            assert 0 < parameter.abs().max() <= 0.01


def test_one_dim_cannot_be_split(dataset: MakeDataset) -> None:
    with pytest.raises(ConfigError, match="at least 2 dims"):
        NICE(NICEConfig(), dataset(1))


@pytest.mark.parametrize("hidden_layers", [(1,), (2, -1)])
def test_couplings_that_cannot_work_are_refused(hidden_layers: int) -> None:
    with pytest.raises(ValidationError, match="at least two couplings"):
        NICEConfig(hidden_layers=hidden_layers)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 64, 64), (2,), (43,)])
def test_default_preset_runs_on_images_and_vectors(
    shape: tuple[int, ...], dataset: MakeDataset
) -> None:
    data = dataset(*shape, levels=256 if len(shape) == 3 else None)
    config = _preset(NICEConfig.default_preset(data))
    assert config.unsupported(data) is None
    assert (config.preprocessing.noise is None) == (len(shape) == 1)


@pytest.mark.parametrize("name", NICEConfig.presets)
def test_every_preset_is_a_valid_configuration(name: str) -> None:
    _preset(name)


def test_is_a_bijection(assert_is_bijection: AssertIsBijection, perturb: Perturb) -> None:
    assert_is_bijection(perturb(DiagonalScaling(5)), torch.randn(3, 5, dtype=torch.float64))
