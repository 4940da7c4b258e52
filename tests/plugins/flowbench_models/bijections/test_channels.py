from __future__ import annotations

from typing import Any

import pytest
import torch

from flowbench_models.bijections.channels import (
    ActNorm,
    ChannelGaussian,
    FullConv1x1,
    Permutation,
    PLUConv1x1,
    Squeeze,
    fold_mixings,
    mix_channels,
)
from flowbench_models.coupling.nice import interleaved_order
from tests.plugins.flowbench_models.fixtures import AssertIsBijection, Perturb


def test_is_a_bijection(assert_is_bijection: AssertIsBijection) -> None:
    assert_is_bijection(Squeeze(), torch.randn(2, 3, 2, 4, dtype=torch.float64))


def test_each_channel_becomes_its_block_row_by_row() -> None:
    z, _ = Squeeze()(torch.arange(16.0).view(1, 1, 4, 4))
    assert z[0, :, 0, 0].tolist() == [0, 1, 4, 5]


def test_output_is_channels_last() -> None:
    z, _ = Squeeze()(torch.randn(2, 3, 4, 4))
    assert z.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 4), (4, 5, 3, 2)])
def test_is_a_bijection_of_actnorm(
    shape: tuple[int, ...], assert_is_bijection: AssertIsBijection, perturb: Perturb
) -> None:
    x = torch.randn(shape, dtype=torch.float64)
    assert_is_bijection(perturb(ActNorm(shape[1])), x)


def test_first_batch_leaves_with_mean_0_and_std_1_in_each_channel() -> None:
    x = torch.tensor([1.0, -7.0, 100.0]).view(1, 3, 1, 1) + 9.0 * torch.randn(16, 3, 4, 6)
    z = ActNorm(3).initialize(x)
    std, mean = torch.std_mean(z, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(std, torch.ones(3), rtol=0, atol=1e-4)


def test_second_initialisation_changes_nothing() -> None:
    norm = ActNorm(3)
    norm.initialize(torch.randn(16, 3))
    before = norm.shift.detach().clone()
    norm.initialize(5.0 + torch.randn(16, 3))
    assert torch.equal(norm.shift, before)


def test_checkpoint_remembers_that_it_was_initialised() -> None:
    norm = ActNorm(3)
    norm.initialize(torch.randn(16, 3))
    restored = ActNorm(3)
    restored.load_state_dict(norm.state_dict())
    assert bool(restored.initialized)


def test_constant_channel_stays_finite() -> None:
    assert torch.isfinite(ActNorm(2).initialize(torch.ones(8, 2))).all()


def test_affine_form_is_the_map_itself(perturb: Perturb) -> None:
    norms = [perturb(ActNorm(3)) for _ in range(2)]
    x = torch.randn(5, 3, dtype=torch.float64)
    _, scales, offsets = ActNorm.as_affine(norms)
    for norm, scale, offset in zip(norms, scales, offsets, strict=True):
        torch.testing.assert_close(x * scale + offset, norm(x)[0])


MakeConvolution = type[PLUConv1x1 | FullConv1x1]
convolutions = pytest.mark.parametrize("make", [PLUConv1x1, FullConv1x1])


@convolutions
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_convolution_is_a_bijection(
    make: MakeConvolution, channels: int, assert_is_bijection: AssertIsBijection, perturb: Perturb
) -> None:
    x = torch.randn(3, channels, 2, 3, dtype=torch.float64)
    assert_is_bijection(perturb(make(channels)), x)


@convolutions
def test_convolution_starts_as_a_rotation(make: MakeConvolution) -> None:
    both: list[Any] = [make(6), make(6)]
    matrices, log_abs_dets = make.matrices(both)
    identity = torch.eye(6).expand(2, 6, 6)
    torch.testing.assert_close(matrices @ matrices.mT, identity, rtol=0, atol=1e-5)
    torch.testing.assert_close(log_abs_dets, torch.zeros(2), rtol=0, atol=1e-5)


@convolutions
def test_inverse_matrix_inverts(make: MakeConvolution, perturb: Perturb) -> None:
    convolution: Any = perturb(make(5))
    product = make.matrices([convolution])[0][0] @ convolution.inverse_matrix()
    torch.testing.assert_close(product, torch.eye(5, dtype=torch.float64))


@pytest.mark.parametrize(("make", "expected"), [(PLUConv1x1, 2 * 12**2 + 12), (FullConv1x1, 144)])
def test_parameters_are_counted_as_released(make: MakeConvolution, expected: int) -> None:
    assert sum(p.numel() for p in make(12).parameters()) == expected


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 2, 3)])
def test_permutation_is_a_bijection(
    shape: tuple[int, ...], assert_is_bijection: AssertIsBijection
) -> None:
    assert_is_bijection(Permutation([2, 0, 3, 1]), torch.randn(shape, dtype=torch.float64))


def test_interleaved_order_puts_even_positions_first() -> None:
    z, _ = Permutation(interleaved_order(5))(torch.arange(5.0).view(1, 5))
    assert z.tolist() == [[0, 2, 4, 1, 3]]


@pytest.mark.parametrize("kind", [FullConv1x1, PLUConv1x1])
def test_folded_maps_equal_actnorm_then_convolution(kind: Any, perturb: Perturb) -> None:
    norms, convolutions = [ActNorm(3) for _ in range(2)], [kind(3) for _ in range(2)]
    perturb(torch.nn.ModuleList([*norms, *convolutions]))
    mixings = fold_mixings(norms, convolutions)
    x = folded = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    ladj = torch.zeros(2, dtype=torch.float64)
    for norm, convolution in zip(norms, convolutions, strict=True):
        for layer in (norm, convolution):
            x, term = layer(x)
            ladj = ladj + term
    for matrix, offset in zip(mixings.matrices, mixings.offsets, strict=True):
        folded = mix_channels(folded, matrix, offset)
    torch.testing.assert_close(folded, x)
    torch.testing.assert_close((8 * mixings.log_abs_det).expand(2), ladj)


def test_is_a_bijection_of_a_gaussian(
    perturb: Perturb, assert_is_bijection: AssertIsBijection
) -> None:
    assert_is_bijection(perturb(ChannelGaussian(3)), torch.randn(2, 3, 2, 2, dtype=torch.float64))


def test_density_is_the_gaussians(perturb: Perturb) -> None:
    layer = perturb(ChannelGaussian(2))
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64)
    z, ladj = layer(x)
    mean, std = layer.mean.view(1, -1, 1, 1), layer.log_std.exp().view(1, -1, 1, 1)
    expected = torch.distributions.Normal(mean, std).log_prob(x).sum(dim=(1, 2, 3))
    standard = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=(1, 2, 3))
    torch.testing.assert_close(standard + ladj, expected)


@pytest.mark.parametrize("value", [0.0, 3.7, -1e4])
def test_a_channel_without_spread_is_centred_and_left_unscaled(value: float) -> None:
    norm, x = ActNorm(2), torch.randn(64, 2)
    x[:, 1] = value
    z = norm.initialize(x)
    assert norm.log_scale[1] == 0.0
    torch.testing.assert_close(z[:, 1], torch.zeros(64), atol=1e-3, rtol=0)
    torch.testing.assert_close(z[:, 0].std(correction=0), torch.tensor(1.0), atol=1e-4, rtol=0)
