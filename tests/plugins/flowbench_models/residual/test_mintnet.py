from __future__ import annotations

import pytest
import torch

from flowbench.errors import ConfigError, NotInvertibleError
from flowbench_models.residual.mintnet import (
    MintNet,
    MintNetConfig,
    SpaceToDepth,
    TriangularBlock,
    causal_mask,
)
from tests.plugins.flowbench_models.fixtures import (
    AssertIsBijection,
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
    TrainOn,
)

COUNTS = {
    "cifar10": ((3, 32, 32), 27_460_944),
    "imagenet32": ((3, 32, 32), 27_460_944),
    "mnist": ((1, 28, 28), 805_272),
}


def _preset(name: str) -> MintNetConfig:
    return MintNetConfig.model_validate(MintNetConfig.presets[name].values)


@pytest.mark.parametrize("preset", COUNTS)
def test_paper_presets_have_the_counts_of_the_released_code(
    preset: str, dataset: MakeDataset
) -> None:
    shape, count = COUNTS[preset]
    with torch.device("meta"):
        model = MintNet(_preset(preset), dataset(*shape, levels=256))
    assert sum(p.numel() for p in model.parameters()) == model.num_parameters() == count
    assert f"{count:,}" in MintNetConfig.presets[preset].summary


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("kernel_size", "shape"), [(3, (2, 3, 4)), (1, (5, 1, 1))])
def test_a_block_is_a_triangular_bijection(
    reverse: bool,
    kernel_size: int,
    shape: tuple[int, int, int],
    perturb: Perturb,
    assert_is_bijection: AssertIsBijection,
) -> None:
    block = TriangularBlock(shape, 3, kernel_size, reverse=reverse, damping=1.1)
    x = torch.randn(3, *shape, dtype=torch.float64)
    assert_is_bijection(perturb(block, 0.3), x)
    jacobian = torch.autograd.functional.jacobian(
        lambda event: block(event.view(1, *shape))[0].flatten(), x[0].flatten()
    )
    upper = jacobian.triu(1)
    lower = jacobian.tril(-1)
    assert not (lower if reverse else upper).any()
    assert (upper if reverse else lower).any()
    assert bool((jacobian.diagonal() > 0).all())


def test_slopes_are_positive_whatever_the_signs_of_the_weights(perturb: Perturb) -> None:
    block = perturb(TriangularBlock((2, 3, 3), 4, 3, reverse=False, damping=1.1), 2.0)
    _, ladj = block(torch.randn(64, 2, 3, 3, dtype=torch.float64))
    assert bool(ladj.isfinite().all())


def test_an_iteration_that_overshoots_begins_again_with_smaller_steps(perturb: Perturb) -> None:
    block = perturb(TriangularBlock((1, 2, 2), 4, 3, reverse=False, damping=0.51), 1.5)
    x = 3.0 * torch.randn(32, 1, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(block.inverse(block(x)[0]), x, rtol=0, atol=1e-6)


def test_an_inverse_that_does_not_come_to_rest_says_so() -> None:
    block = TriangularBlock((1, 2, 2), 2, 3, reverse=False, damping=1.1)
    with pytest.raises(NotInvertibleError, match="set a larger damping"):
        block.inverse(torch.full((1, 1, 2, 2), torch.inf))


def test_space_to_depth_has_pixels_outermost() -> None:
    x = torch.randn(2, 3, 4, 6)
    z, ladj = SpaceToDepth()(x)
    assert not ladj.any()
    torch.testing.assert_close(z[:, 3:6], x[:, :, ::2, 1::2])  # second pixel of each block
    torch.testing.assert_close(SpaceToDepth().inverse(z), x)


def test_a_mask_sees_all_of_channels_before_and_none_behind() -> None:
    mask = causal_mask(3, 3)
    assert mask[2, 0].all()
    assert not mask[0, 2].any()
    assert mask[1, 1].sum() == 5


@pytest.mark.parametrize(("shape", "subsamplings"), [((2, 4, 4), 1), ((7,), 0)], ids=str)
def test_latents_and_data_map_to_each_other_with_the_jacobians_ladj(
    shape: tuple[int, ...],
    subsamplings: int,
    dataset: MakeDataset,
    perturb: Perturb,
    jacobian_log_abs_det: JacobianLogAbsDet,
) -> None:
    config = MintNetConfig(layers=2, subsamplings=subsamplings, multiplier=4)
    model = perturb(MintNet(config, dataset(*shape)))
    x = torch.randn(2, *shape, dtype=torch.float64)
    latents, ladj = model.to_latent(x)
    assert tuple(tuple(z.shape[1:]) for z in latents) == model.latent_shapes()
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-6)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-5)


def test_training_on_a_batch_lowers_its_loss(dataset: MakeDataset, train_on: TrainOn) -> None:
    model = MintNet(MintNetConfig(layers=2, multiplier=4), dataset(1, 4, 4))
    train_on(model, 2.0 * torch.rand(32, 1, 4, 4) - 0.5, 30)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (2,), (30,)], ids=str)
def test_default_preset_runs_on_images_and_vectors(
    shape: tuple[int, ...], dataset: MakeDataset
) -> None:
    data = dataset(*shape, levels=256 if len(shape) == 3 else None)
    assert _preset(MintNetConfig.default_preset(data)).unsupported(data) is None


@pytest.mark.parametrize("shape", [(2,), (3, 7, 7)], ids=str)
def test_what_does_not_fit_is_refused_with_a_reason(
    shape: tuple[int, ...], dataset: MakeDataset
) -> None:
    with pytest.raises(ConfigError, match="mintnet with subsamplings=1 needs"):
        MintNet(MintNetConfig(), dataset(*shape))


@pytest.mark.parametrize(("layers", "subsamplings"), [(1, 1), (2, 2), (2, 3)])
def test_subsamplings_need_layers_around_them(layers: int, subsamplings: int) -> None:
    with pytest.raises(ValueError, match="layers must be more than subsamplings"):
        MintNetConfig(layers=layers, subsamplings=subsamplings)


def test_one_layer_more_than_subsamplings_is_enough(dataset: MakeDataset) -> None:
    config = MintNetConfig(layers=3, subsamplings=2, multiplier=4)
    assert MintNet(config, dataset(1, 8, 8)).latent_shapes() == ((16, 2, 2),)


@pytest.mark.parametrize("name", MintNetConfig.presets)
def test_every_preset_is_a_valid_configuration(name: str) -> None:
    _preset(name)
