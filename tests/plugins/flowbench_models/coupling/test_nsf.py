from __future__ import annotations

from typing import Any, Literal

import pytest
import torch

from flowbench.api import Batch
from flowbench.errors import ConfigError
from flowbench_models.bijections.splines import RationalQuadraticSpline
from flowbench_models.coupling.nsf import NSF, NSFConfig, SplineCoupling
from flowbench_models.nets.mlp import ResidualMLP
from tests.plugins.flowbench_models.fixtures import (
    AssertIsBijection,
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
    TrainOn,
    tensor,
)

Transform = Literal["coupling", "autoregressive"]
both_transforms = pytest.mark.parametrize("transform", ["coupling", "autoregressive"])


def _preset(name: str) -> NSFConfig:
    return NSFConfig.model_validate(NSFConfig.presets[name].values)


def _small(
    transform: Transform,
    shape: tuple[int, ...],
    dataset: MakeDataset,
    perturb: Perturb,
    **more: Any,
) -> NSF:
    config = NSFConfig(transform=transform, steps=2, width=8, blocks=1, bins=4, bound=2.0, **more)
    return perturb(NSF(config, dataset(*shape))).eval()


def test_script_presets_have_the_settings_of_the_released_script() -> None:
    for name, transform in (("coupling", "coupling"), ("ar", "autoregressive")):
        config = _preset(name)
        assert config.transform == transform
        sizes = (config.steps, config.width, config.blocks, config.bins, config.bound)
        assert sizes == (10, 256, 2, 8, 3.0)
        training = config.training
        assert (training.batch_size, training.lr, training.clip_norm) == (64, 3e-4, 5.0)
        assert config.dropout == 0.25


@pytest.mark.parametrize(("preset", "count"), [("coupling", 2_820_402), ("ar", 3_004_722)])
def test_script_presets_have_the_counts_of_the_released_script_on_power(
    preset: str, count: int, dataset: MakeDataset
) -> None:
    """Counted on the released transforms, built by nflows."""
    with torch.device("meta"):
        model = NSF(_preset(preset), dataset(6))
    assert sum(p.numel() for p in model.parameters()) == count


@both_transforms
@pytest.mark.parametrize("shape", [(2,), (5,), (1, 2, 2)], ids=str)
def test_latents_and_data_map_to_each_other_with_the_jacobians_ladj(
    transform: Transform,
    shape: tuple[int, ...],
    dataset: MakeDataset,
    perturb: Perturb,
    jacobian_log_abs_det: JacobianLogAbsDet,
) -> None:
    model = _small(transform, shape, dataset, perturb)
    x = 2.0 * torch.randn(4, *shape, dtype=torch.float64)
    x[0] = 9.0  # in the tails
    latents, ladj = model.to_latent(x)
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-6)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-5)


@both_transforms
def test_density_in_two_dims_integrates_to_one(
    transform: Transform, dataset: MakeDataset, perturb: Perturb
) -> None:
    model = _small(transform, (2,), dataset, perturb)
    axis = torch.linspace(-15, 15, 400, dtype=torch.float64)
    log_prob = tensor(model.log_prob(torch.cartesian_prod(axis, axis)))
    mass = log_prob.exp().sum() * (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(mass.item(), 1.0, rtol=0, atol=1e-2)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("num_dims", [2, 5])
def test_coupling_transforms_both_halves_each_by_its_own_splines(
    swap: bool, num_dims: int, perturb: Perturb, assert_is_bijection: AssertIsBijection
) -> None:
    law = RationalQuadraticSpline(4, 2.0, width=16)
    num_passing = num_dims // 2 if swap else num_dims - num_dims // 2
    net = ResidualMLP(num_passing, law.num_parameters * (num_dims - num_passing), width=8, blocks=1)
    coupling = perturb(SplineCoupling(law, net, num_passing, swap=swap))
    x = torch.rand(3, num_dims, dtype=torch.float64)
    assert_is_bijection(coupling, x)
    passing = slice(num_dims - num_passing, None) if swap else slice(num_passing)
    z, _ = coupling(x)
    assert (z[:, passing] != x[:, passing]).all()
    plain = RationalQuadraticSpline(4, 2.0)  # its own raw numbers are not divided
    own, _ = plain(x[:, passing], coupling.own.flatten().expand(3, -1))
    torch.testing.assert_close(z[:, passing], own)


@both_transforms
@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: x * 1e6,  # far in the tails
        lambda x: torch.cat((x[:, :1], torch.zeros_like(x[:, 1:])), dim=1),  # a constant column
        lambda x: x.round(),  # integers
    ],
    ids=["far", "constant", "integers"],
)
def test_data_out_of_its_domain_train_without_nan(
    transform: Transform, spoil: Any, dataset: MakeDataset
) -> None:
    model = NSF(NSFConfig(transform=transform, steps=2, width=8), dataset(2, levels=None))
    x = spoil(torch.randn(64, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(20):
        optimizer.zero_grad()
        loss = -tensor(model.log_prob(x)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        assert loss.isfinite()
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@both_transforms
def test_training_on_a_batch_lowers_its_loss(
    transform: Transform, dataset: MakeDataset, train_on: TrainOn
) -> None:
    train_on(
        NSF(NSFConfig(transform=transform, steps=2, width=8), dataset(2)), torch.rand(64, 2), 40
    )


def test_one_dim_needs_an_autoregressive_transform(dataset: MakeDataset) -> None:
    with pytest.raises(ConfigError, match="set transform=autoregressive"):
        NSF(NSFConfig(), dataset(1))
    model = NSF(NSFConfig(transform="autoregressive"), dataset(1))
    model.initialize(Batch(x=torch.randn(8, 1)), generator=torch.Generator())
    assert tensor(model.log_prob(torch.randn(8, 1))).isfinite().all()


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (2,), (43,)], ids=str)
def test_default_preset_runs_on_images_and_vectors(
    shape: tuple[int, ...], dataset: MakeDataset
) -> None:
    data = dataset(*shape, levels=256 if len(shape) == 3 else None)
    config = _preset(NSFConfig.default_preset(data))
    assert config.unsupported(data) is None
    assert (config.preprocessing.noise is None) == (len(shape) == 1)


@pytest.mark.parametrize("name", NSFConfig.presets)
def test_every_preset_is_a_valid_configuration(name: str) -> None:
    _preset(name)
