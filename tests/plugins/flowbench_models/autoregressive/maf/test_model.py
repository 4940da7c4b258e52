from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from flowbench.api import Batch, DatasetInfo, InvertibleModel, SamplingOptions
from flowbench_models.autoregressive.maf.config import (
    PAPER_FORMS,
    PAPER_SIZES,
    IAFConfig,
    MADEConfig,
    MAFConfig,
)
from flowbench_models.autoregressive.maf.model import IAF, MAF, GaussianMADE, PrecisionAffine
from flowbench_models.bijections.autoregressive import Autoregressive
from flowbench_models.bijections.batch_norm import BatchNorm
from tests.plugins.flowbench_models.fixtures import (
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
    tensor,
)

SHAPES: dict[str, tuple[int, ...]] = {
    "power": (6,),
    "gas": (8,),
    "hepmass": (21,),
    "miniboone": (43,),
    "bsds300": (63,),
    "mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
}
MODELS: dict[str, tuple[type[MAF], type[MAFConfig]]] = {
    "made": (GaussianMADE, MADEConfig),
    "maf": (MAF, MAFConfig),
    "iaf": (IAF, IAFConfig),
}


def _preset(config: type[MAFConfig], name: str) -> MAFConfig:
    return config.model_validate(config.presets[name].values)


def _count(model: type[MAF], config: MAFConfig, data: DatasetInfo) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in model(config, data).parameters())


@pytest.mark.parametrize("name", PAPER_SIZES)
@pytest.mark.parametrize("form", range(3))
def test_paper_presets_have_the_counts_of_the_released_models(
    name: str, form: int, dataset: MakeDataset
) -> None:
    preset = name + list(PAPER_FORMS)[form]
    count = PAPER_SIZES[name][1][form]
    assert _count(MAF, _preset(MAFConfig, preset), dataset(*SHAPES[name])) == count
    assert f"{count:,}" in MAFConfig.presets[preset].summary


def test_wider_networks_have_the_counts_that_were_published_for_them(dataset: MakeDataset) -> None:
    for name, count in (("bsds300", 974_060), ("bsds300-l2", 6_222_060)):
        config = _preset(MAFConfig, name).model_copy(update={"width": 1024})
        assert _count(MAF, config, dataset(63)) == count
    config = _preset(MAFConfig, "cifar10-k10").model_copy(update={"width": 2048})
    assert _count(MAF, config, dataset(3, 32, 32)) == 230_850_560


def test_one_made_has_a_mean_and_a_log_precision_for_each_element(dataset: MakeDataset) -> None:
    weights = 6 * 100 + 100 + 2 * (100 * 6 + 6)
    assert _count(GaussianMADE, _preset(MADEConfig, "power"), dataset(6)) == weights


# --- what it computes -----------------------------------------------------------------------------


def _small(
    name: str, shape: tuple[int, ...], dataset: MakeDataset, perturb: Perturb, **fields: Any
) -> MAF:
    model, config = MODELS[name]
    transforms = 1 if name == "made" else 3
    made = model(config(transforms=transforms, width=7, layers=2, **fields), dataset(*shape))
    made = perturb(made)
    x = torch.randn(16, *shape, dtype=torch.float64)
    made.initialize(Batch(x=x), generator=torch.Generator())
    made.refit([Batch(x=x)], generator=torch.Generator())
    return made.eval()


def _by_hand(model: MAF, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Latents and ladj by the paper's equations, element by element, with loops."""
    num, dims = x.shape
    total = np.zeros(num)
    for index, layer in enumerate(model.flow.parts()):
        if isinstance(layer, BatchNorm):
            assert layer.log_gamma is not None
            assert layer.beta is not None
            gamma, beta = (p.detach().numpy() for p in (layer.log_gamma, layer.beta))
            var = layer.running_var.numpy() + 1e-5
            x = (x - layer.running_mean.numpy()) / np.sqrt(var) * np.exp(gamma) + beta
            total = total + gamma.sum() - 0.5 * np.log(var).sum()
            continue
        assert isinstance(layer, Autoregressive)
        order = range(dims) if index % 4 == 0 else range(dims)[::-1]
        degree = {element: place + 1 for place, element in enumerate(order)}
        hidden = [(unit % max(1, dims - 1)) + min(1, dims - 1) for unit in range(7)]
        degrees = [[degree[d] for d in range(dims)], hidden, hidden]
        h = x
        linears: list[Any] = list(layer.net.layers)
        for linear, before, after in zip(linears[:-1], degrees, degrees[1:], strict=False):
            mask = np.array([[b <= a for b in before] for a in after])
            weight = linear.weight.detach().numpy() * mask
            h = np.maximum(h @ weight.T + linear.bias.detach().numpy(), 0.0)
        mask = np.array([[b < degree[d] for b in hidden] for _ in range(2) for d in range(dims)])
        out = h @ (linears[-1].weight.detach().numpy() * mask).T + linears[-1].bias.detach().numpy()
        mean, alpha = out[:, :dims], out[:, dims:]
        x = (x - mean) * np.exp(0.5 * alpha)
        total = total + 0.5 * alpha.sum(axis=1)
    return x, total


@pytest.mark.parametrize("num_dims", [1, 2, 5])
def test_it_computes_what_the_papers_equations_say(
    num_dims: int, dataset: MakeDataset, perturb: Perturb
) -> None:
    model = _small("maf", (num_dims,), dataset, perturb, norm="batch")
    x = torch.randn(9, num_dims, dtype=torch.float64)
    (z,), ladj = model.to_latent(x)
    expected, expected_ladj = _by_hand(model, x.numpy())
    np.testing.assert_allclose(z.detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ladj.detach().numpy(), expected_ladj, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("norm", ["act", "batch", "none"])
@pytest.mark.parametrize("shape", [(1,), (2,), (1, 2, 3)], ids=str)
def test_latents_and_data_map_to_each_other_with_the_jacobians_ladj(
    name: str,
    norm: str,
    shape: tuple[int, ...],
    dataset: MakeDataset,
    perturb: Perturb,
    jacobian_log_abs_det: JacobianLogAbsDet,
) -> None:
    model = _small(name, shape, dataset, perturb, norm=norm)
    x = torch.randn(3, *shape, dtype=torch.float64)
    latents, ladj = model.to_latent(x)
    assert tuple(z.shape[1:] for z in latents) == model.latent_shapes()
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-6)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-5)


def test_one_transform_is_autoregressive_in_data_and_iafs_in_latents(
    dataset: MakeDataset, perturb: Perturb
) -> None:
    x = torch.randn(1, 5, dtype=torch.float64)
    made = _small("made", (5,), dataset, perturb)
    jacobian = torch.autograd.functional.jacobian(lambda e: made.to_latent(e)[0][0], x)
    assert torch.equal(jacobian[0, :, 0], jacobian[0, :, 0].tril())
    assert (jacobian[0, :, 0].diagonal() > 0).all()
    iaf = perturb(IAF(IAFConfig(transforms=1, width=7, norm="none"), dataset(5)))
    jacobian = torch.autograd.functional.jacobian(lambda z: iaf.from_latent((z,)), x)
    assert torch.equal(jacobian[0, :, 0], jacobian[0, :, 0].tril())


@pytest.mark.parametrize("name", MODELS)
def test_density_in_two_dims_integrates_to_one(
    name: str, dataset: MakeDataset, perturb: Perturb
) -> None:
    model = _small(name, (2,), dataset, perturb)
    axis = torch.linspace(-25, 25, 500, dtype=torch.float64)
    log_prob = tensor(model.log_prob(torch.cartesian_prod(axis, axis)))
    mass = log_prob.exp().sum() * (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(mass.item(), 1.0, rtol=0, atol=1e-2)


def test_law_is_that_of_a_gaussian() -> None:
    x, parameters = torch.tensor([[5.0]]), torch.tensor([[2.0, np.log(4.0)]])
    z, log_derivative = PrecisionAffine()(x, parameters)
    assert z.item() == pytest.approx(6.0)  # a standard deviation of 1/2
    assert log_derivative.item() == pytest.approx(np.log(2.0))


# --- batch norm -----------------------------------------------------------------------------------


def test_refit_takes_the_statistics_of_all_examples_together(
    dataset: MakeDataset, perturb: Perturb
) -> None:
    """Batches of very different means: averaging their variances would miss what is between."""
    config = MAFConfig(transforms=3, width=7, norm="batch")
    model = perturb(MAF(config, dataset(3)))
    x = torch.randn(60, 3, dtype=torch.float64) + torch.arange(60)[:, None] / 10.0
    (expected,), expected_ladj = model.train().to_latent(x)  # by the statistics of the one batch
    model.refit([Batch(x=part) for part in x.split([10, 30, 20])], generator=torch.Generator())
    assert model.training
    (z,), ladj = model.eval().to_latent(x)
    torch.testing.assert_close(z, expected)
    torch.testing.assert_close(ladj, expected_ladj)


def test_start_of_the_released_code_is_random_and_ours_the_identity(dataset: MakeDataset) -> None:
    x = torch.randn(4, 6)
    ours = MAF(MAFConfig(norm="none"), dataset(6))
    assert torch.equal(ours.to_latent(x)[0][0], x)
    released = MAF(MAFConfig(norm="none", start="random", width=400), dataset(6))
    first, last = (m for m in released.flow.parts()[0].modules() if isinstance(m, nn.Linear))
    assert first.weight.std().item() == pytest.approx(7**-0.5, rel=0.1)
    assert last.weight.std().item() == pytest.approx(401**-0.5, rel=0.1)
    assert not last.bias.any()


@pytest.mark.parametrize("name", MODELS)
def test_samples_have_the_datas_shape(name: str, dataset: MakeDataset) -> None:
    model, config = MODELS[name]
    made: InvertibleModel = model(config(width=3), dataset(1, 2, 2))
    samples = tensor(made.sample(3, settings=SamplingOptions(), generator=torch.Generator()))
    assert samples.shape == (3, 1, 2, 2)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (2,), (43,), (1,)], ids=str)
def test_default_preset_runs_on_images_and_vectors(
    name: str, shape: tuple[int, ...], dataset: MakeDataset
) -> None:
    _, config = MODELS[name]
    data = dataset(*shape, levels=256 if len(shape) == 3 else None)
    preset = _preset(config, config.default_preset(data))
    assert preset.unsupported(data) is None
    assert (preset.preprocessing.noise is None) == (len(shape) == 1)


@pytest.mark.parametrize(
    ("name", "preset"), [(name, preset) for name in MODELS for preset in MODELS[name][1].presets]
)
def test_every_preset_is_a_valid_configuration(name: str, preset: str) -> None:
    _preset(MODELS[name][1], preset)
