from __future__ import annotations

from typing import Literal

import pytest
import torch

from flowbench.api import Batch, SamplingOptions, Step
from flowbench.errors import ConfigError
from flowbench_models.coupling.realnvp.config import RealNVPConfig
from flowbench_models.coupling.realnvp.model import RealNVP
from tests.plugins.flowbench_models.fixtures import (
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
    tensor,
)


def _preset(name: str) -> RealNVPConfig:
    return RealNVPConfig.model_validate(RealNVPConfig.presets[name].values)


@pytest.mark.parametrize(
    ("preset", "size", "count"),
    [
        ("cifar10", 32, 19_609_545),
        pytest.param("imagenet32", 32, 46_220_359, marks=pytest.mark.slow),
        pytest.param("imagenet64", 64, 96_363_237, marks=pytest.mark.slow),
    ],
)
def test_paper_presets_have_the_counts_of_the_released_code(
    preset: str, size: int, count: int, dataset: MakeDataset
) -> None:
    with torch.device("meta"):
        model = RealNVP(_preset(preset), dataset(3, size, size, levels=256))
    assert sum(p.numel() for p in model.parameters()) == count


Norm = Literal["act", "batch"]


def _tiny(
    norm: Norm,
    shape: tuple[int, ...],
    dataset: MakeDataset,
    perturb: Perturb,
    network: Literal["resnet", "mlp"] = "resnet",
) -> RealNVP:
    config = RealNVPConfig(scales=2, couplings=3, width=3, blocks=1, norm=norm, network=network)
    model = perturb(RealNVP(config, dataset(*shape)))
    model.initialize(
        Batch(x=torch.randn(8, *shape, dtype=torch.float64)), generator=torch.Generator()
    )
    model.to_latent(torch.randn(8, *shape, dtype=torch.float64))  # moves the running statistics
    return model.eval()


every_norm = pytest.mark.parametrize("norm", ["act", "batch"])

every_shape = pytest.mark.parametrize("shape", [(1, 4, 6), (3, 2, 2), (2,), (5,)])


@every_norm
@every_shape
def test_latents_and_data_map_to_each_other(
    norm: Norm, shape: tuple[int, ...], dataset: MakeDataset, perturb: Perturb
) -> None:
    model = _tiny(norm, shape, dataset, perturb)
    x = torch.randn(3, *shape, dtype=torch.float64)
    latents, _ = model.to_latent(x)
    assert tuple(z.shape[1:] for z in latents) == model.latent_shapes()
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-6)


@every_norm
@every_shape
def test_ladj_is_that_of_the_joint_map(
    norm: Norm,
    shape: tuple[int, ...],
    dataset: MakeDataset,
    perturb: Perturb,
    jacobian_log_abs_det: JacobianLogAbsDet,
) -> None:
    model = _tiny(norm, shape, dataset, perturb)
    x = torch.randn(2, *shape, dtype=torch.float64)
    _, ladj = model.to_latent(x)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-5)


def test_image_flow_of_perceptrons_is_a_bijection(
    dataset: MakeDataset, perturb: Perturb, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    model = _tiny("act", (1, 4, 6), dataset, perturb, network="mlp")
    x = torch.randn(2, 1, 4, 6, dtype=torch.float64)
    latents, ladj = model.to_latent(x)
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-6)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-5)


def test_evaluation_does_not_depend_on_the_rest_of_the_batch(
    dataset: MakeDataset, perturb: Perturb
) -> None:
    model = _tiny("batch", (1, 4, 4), dataset, perturb)
    x = torch.randn(4, 1, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(model.log_prob(x)[:1], model.log_prob(x[:1]))


def test_last_diagonal_of_each_block_is_factored_out(dataset: MakeDataset) -> None:
    # Identity couplings: what is factored out are the off-diagonal corners of each 2x2 block.
    model = RealNVP(RealNVPConfig(scales=2, width=2, blocks=1), dataset(1, 4, 4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for name, parameter in model.named_parameters():
            if name.endswith(".weight"):
                parameter.fill_(1.0)  # a zero filter has no direction to be normalised
    x = torch.arange(16.0).view(1, 1, 4, 4)
    (factored, kept), _ = model.to_latent(x)
    assert factored.flatten().tolist() == [1, 3, 9, 11, 4, 6, 12, 14]
    assert kept.flatten().tolist() == [0, 2, 8, 10, 5, 7, 13, 15]


def test_density_in_two_dims_integrates_to_one(dataset: MakeDataset, perturb: Perturb) -> None:
    model = _tiny("act", (2,), dataset, perturb)
    axis = torch.linspace(-30, 30, 600, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    mass = tensor(model.log_prob(grid)).exp().sum() * (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(mass.item(), 1.0, rtol=0, atol=1e-2)


@every_norm
@every_shape
def test_every_parameter_receives_a_gradient(
    norm: Norm, shape: tuple[int, ...], dataset: MakeDataset
) -> None:
    model = RealNVP(RealNVPConfig(width=3, blocks=1, norm=norm), dataset(*shape))
    step = Step(progress=torch.zeros(()), phase=0, group="all", generator=torch.Generator(), seed=0)
    tensor(model.loss(Batch(x=torch.randn(4, *shape)), step)).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_samples_have_the_datas_shape(dataset: MakeDataset) -> None:
    model = RealNVP(RealNVPConfig(width=3, blocks=1), dataset(1, 4, 4))
    samples = tensor(model.sample(3, settings=SamplingOptions(), generator=torch.Generator()))
    assert samples.shape == (3, 1, 4, 4)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((1,), "at least 2 dims"), ((3, 7, 8), "divisible by 2"), ((1, 80), "images")],
)
def test_what_does_not_fit_is_refused_with_a_reason(
    shape: tuple[int, ...], reason: str, dataset: MakeDataset
) -> None:
    with pytest.raises(ConfigError, match=reason):
        RealNVP(RealNVPConfig(), dataset(*shape))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 64, 64), (2,), (43,)])
def test_default_preset_runs_on_images_and_vectors(
    shape: tuple[int, ...], dataset: MakeDataset
) -> None:
    data = dataset(*shape, levels=256 if len(shape) == 3 else None)
    config = _preset(RealNVPConfig.default_preset(data))
    assert config.unsupported(data) is None
    assert (config.preprocessing.noise is None) == (len(shape) == 1)


@pytest.mark.parametrize("name", RealNVPConfig.presets)
def test_every_preset_is_a_valid_configuration(name: str) -> None:
    _preset(name)
