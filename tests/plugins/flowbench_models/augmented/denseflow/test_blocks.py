from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from flowbench_models.augmented.denseflow.blocks import (
    BoundedAffine,
    ChannelGaussian,
    CrossUnitCoupling,
    DenseFlowBlock,
    FlowUnit,
    LevelScaling,
    NoiseNet,
    VariationalDequantizer,
)
from flowbench_models.augmented.denseflow.networks import PlainConvNet
from flowbench_models.bijections.base import Composition, HalfCoupling
from flowbench_models.bijections.channels import ActNorm, FlowStep, FullConv1x1
from tests.plugins.flowbench_models.fixtures import AssertIsBijection, JacobianLogAbsDet, Perturb


def test_inverse_and_derivative() -> None:
    x, parameters = torch.randn(2, 3, 4).double(), 3.0 * torch.randn(2, 6, 4).double()
    law = BoundedAffine()
    z, log_derivative = law(x, parameters)
    torch.testing.assert_close(law.inverse(z, parameters), x)
    raw, shift = parameters.chunk(2, dim=1)
    torch.testing.assert_close(log_derivative, 2.0 * torch.tanh(raw / 2.0))
    torch.testing.assert_close(z, shift + log_derivative.exp() * x)


def test_scale_is_bounded_and_starts_at_one() -> None:
    parameters = torch.tensor([[1e3, -1e3, 0.0, 0.0, 0.0, 0.0]])
    _, log_scale = BoundedAffine()(torch.zeros(1, 3), parameters)
    torch.testing.assert_close(log_scale, torch.tensor([[2.0, -2.0, 0.0]]))


def test_is_a_bijection(perturb: Perturb, assert_is_bijection: AssertIsBijection) -> None:
    assert_is_bijection(perturb(ChannelGaussian(3)), torch.randn(2, 3, 2, 2, dtype=torch.float64))


def test_density_is_the_gaussians(perturb: Perturb) -> None:
    layer = perturb(ChannelGaussian(2))
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64)
    z, ladj = layer(x)
    mean, std = layer.mean.view(1, -1, 1, 1), layer.log_std.exp().view(1, -1, 1, 1)
    expected = torch.distributions.Normal(mean, std).log_prob(x).sum(dim=(1, 2, 3))
    standard = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=(1, 2, 3))
    torch.testing.assert_close(standard + ladj, expected)


def _coupling(num_channels: int) -> HalfCoupling:
    transformed = num_channels // 2
    net = PlainConvNet(num_channels - transformed, 2 * transformed, width=3)
    return HalfCoupling(BoundedAffine(), net, swap=False, exchange=True)


def _unit(num_channels: int, num_modules: int = 2) -> FlowUnit:
    return FlowUnit(
        FlowStep(ActNorm(num_channels), FullConv1x1(num_channels), _coupling(num_channels))
        for _ in range(num_modules)
    )


@pytest.mark.parametrize("num_channels", [4, 5])
def test_coupling_is_a_bijection(
    num_channels: int, perturb: Perturb, assert_is_bijection: AssertIsBijection
) -> None:
    x = torch.randn(2, num_channels, 2, 3, dtype=torch.float64)
    assert_is_bijection(perturb(_coupling(num_channels)), x)


def test_fresh_coupling_only_swaps_the_halves() -> None:
    x = torch.randn(2, 5, 2, 2)
    z, ladj = _coupling(5)(x)
    torch.testing.assert_close(z, torch.cat((x[:, 3:], x[:, :3]), dim=1))
    torch.testing.assert_close(ladj, torch.zeros(2))


@pytest.mark.parametrize("num_channels", [4, 5])
def test_unit_is_a_bijection(
    num_channels: int, perturb: Perturb, assert_is_bijection: AssertIsBijection
) -> None:
    x = torch.randn(2, num_channels, 2, 3, dtype=torch.float64)
    assert_is_bijection(perturb(_unit(num_channels)), x)


def test_folded_unit_equals_its_modules_one_after_the_other(perturb: Perturb) -> None:
    unit = perturb(_unit(4))
    x = torch.randn(2, 4, 3, 2, dtype=torch.float64)
    torch.testing.assert_close(unit(x), Composition(unit.steps())(x))


def test_first_batch_normalises_every_actnorm() -> None:
    unit, x = _unit(4), 3.0 + 2.0 * torch.randn(16, 4, 4, 4)
    unit.initialize(x)
    for module in unit.steps():
        assert module.norm.initialized
        x, _ = ActNorm.forward(module.norm, x)
        std, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(mean, torch.zeros(4), rtol=0, atol=1e-4)
        torch.testing.assert_close(std, torch.ones(4), rtol=0, atol=1e-4)
        x, _ = module.coupling(module.mixing(x)[0])


@pytest.mark.parametrize(
    ("num_inputs", "growth", "count"),
    [(12, 10, 6_212), (24, 10, 22_772), (120, 10, 528_500), (382, 10, 5_285_372)],
)
def test_noise_networks_have_the_counts_of_the_released_code(
    num_inputs: int, growth: int, count: int
) -> None:
    with torch.device("meta"):
        net = NoiseNet(num_inputs, growth)
    assert sum(p.numel() for p in net.parameters()) == count


def test_noise_term_has_its_closed_form() -> None:
    r"""With a constant network, -log N(e) + ladj is -log q(mu + sigma e) of N(mu, sigma^2)."""
    net = NoiseNet(3, 2).double()
    mean, log_std = torch.tensor([0.3, -1.0]).double(), torch.tensor([0.5, -0.7]).double()
    with torch.no_grad():  # 2 tanh(raw / 2) = log_std
        last: Any = net.layers[1]
        last.bias.copy_(torch.cat((2.0 * torch.atanh(log_std / 2.0), mean)))
    x, noise = torch.randn(4, 3, 2, 2).double(), torch.randn(4, 2, 2, 2).double()
    z, ladj = CrossUnitCoupling(net)(x, [x], noise)
    mean, std = mean.view(1, -1, 1, 1), log_std.exp().view(1, -1, 1, 1)
    torch.testing.assert_close(z[:, :3], x)
    torch.testing.assert_close(z[:, 3:], mean + std * noise)
    of_noise = torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum(dim=(1, 2, 3))
    of_channels = torch.distributions.Normal(mean, std).log_prob(z[:, 3:]).sum(dim=(1, 2, 3))
    torch.testing.assert_close(ladj - of_noise, -of_channels)


def test_fresh_coupling_adds_the_noise_itself() -> None:
    x, noise = torch.randn(2, 3, 2, 2), torch.randn(2, 2, 2, 2)
    for coupling in (CrossUnitCoupling(NoiseNet(3, 2)), CrossUnitCoupling(None)):
        z, ladj = coupling(x, [x], noise)
        torch.testing.assert_close(z, torch.cat((x, noise), dim=1))
        torch.testing.assert_close(ladj, torch.zeros(2))


@pytest.mark.parametrize("only_last", [False, True])
def test_which_representations_condition_the_noise(only_last: bool, perturb: Perturb) -> None:
    first, last = torch.randn(2, 1, 2, 2).double(), torch.randn(2, 3, 2, 2).double()
    net = perturb(NoiseNet(3 if only_last else 4, 2))
    coupling = CrossUnitCoupling(net, only_last=only_last)
    current, noise = torch.randn(2, 3, 2, 2).double(), torch.randn(2, 2, 2, 2).double()

    def added(current: Tensor, first: Tensor, last: Tensor) -> Tensor:
        z: Tensor = coupling(current, [first, last], noise)[0]
        return z[:, 3:]

    before = added(current, first, last)
    assert torch.equal(added(current + 1.0, first, last), before)
    assert torch.equal(added(current, first + 1.0, last), before) is only_last
    assert not torch.equal(added(current, first, last + 1.0), before)


def _block(num_units: int, perturb: Perturb) -> DenseFlowBlock:
    """Units of 1x1 convolutions on 2, 3, ... channels."""
    units = [FullConv1x1(2 + index) for index in range(num_units)]
    seen = [2 + sum(2 + j for j in range(index)) for index in range(num_units - 1)]
    augmentations = [CrossUnitCoupling(NoiseNet(count, 1)) for count in seen]
    return perturb(DenseFlowBlock(units, augmentations, growth=1))


@pytest.mark.parametrize("num_units", [1, 2, 4])
def test_joint_ladj_of_data_and_noise(
    num_units: int, perturb: Perturb, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    block = _block(num_units, perturb)
    joint = torch.randn(2, 1 + num_units, 2, 2, dtype=torch.float64)

    def encode(event: Tensor) -> tuple[Tensor, Tensor]:
        z, ladj = block(event[:, :2], event[:, 2:].split(1, dim=1))
        return z, ladj

    z, ladj = encode(joint)
    assert z.shape == joint.shape
    expected = jacobian_log_abs_det(lambda event: encode(event)[0], joint)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("num_units", [1, 2, 4])
def test_inverse_needs_no_noise(num_units: int, perturb: Perturb) -> None:
    block = _block(num_units, perturb)
    x = torch.randn(2, 2, 2, 2, dtype=torch.float64)
    noises = [torch.randn(2, 1, 2, 2, dtype=torch.float64) for _ in range(num_units - 1)]
    torch.testing.assert_close(block.inverse(block(x, noises)[0]), x)


def test_units_without_noise_between_them_follow_one_another(perturb: Perturb) -> None:
    units = [FullConv1x1(3), FullConv1x1(3)]
    block = perturb(DenseFlowBlock(units, [], growth=1))
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64)
    z, _ = block(x, [])
    torch.testing.assert_close(z, units[1](units[0](x)[0])[0])
    torch.testing.assert_close(block.inverse(z), x)


@pytest.mark.parametrize("alpha", [None, 0.05])
def test_is_a_bijection_of_levels(alpha: float, assert_is_bijection: AssertIsBijection) -> None:
    assert_is_bijection(LevelScaling(17, alpha), 17.0 * torch.rand(3, 2, 3, 3).double())


def test_centred_levels_cost_log_levels_a_dim() -> None:
    x = torch.tensor([[[[0.0, 256.0]]]])
    z, ladj = LevelScaling(256, None)(x)
    torch.testing.assert_close(z, torch.tensor([[[[-0.5, 0.5]]]]))
    torch.testing.assert_close(ladj, torch.tensor([-2.0 * math.log(256.0)]))


def test_logit_is_finite_at_both_ends() -> None:
    scaling = LevelScaling(256, 0.05)
    z, ladj = scaling(torch.tensor([[0.0, 256.0]]))
    assert z.isfinite().all()
    assert ladj.isfinite().all()
    torch.testing.assert_close(z[0, 1], -z[0, 0])


def _dequantizer(perturb: Perturb) -> VariationalDequantizer:
    dequantizer = VariationalDequantizer(
        1, levels=17, steps=2, width=3, depth=1, growth=2, context_growth=2
    )
    return perturb(dequantizer)


def test_size_is_that_of_the_released_code() -> None:
    with torch.device("meta"):
        dequantizer = VariationalDequantizer(
            3, levels=256, steps=4, width=64, depth=4, growth=64, context_growth=16
        )
    assert sum(p.numel() for p in dequantizer.parameters()) == 2_395_784


def test_ladj_is_that_of_the_map_from_noise(
    perturb: Perturb, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    dequantizer = _dequantizer(perturb)
    x = torch.randint(0, 17, (1, 1, 4, 4)).double()
    noise = torch.randn(3, 4, 2, 2, dtype=torch.float64)

    def draw(event: Tensor) -> tuple[Tensor, Tensor]:
        u, ladj = dequantizer(x.expand(len(event), -1, -1, -1), event)
        return u, ladj

    u, ladj = draw(noise)
    assert u.shape == (3, 1, 4, 4)
    assert bool(((u > 0) & (u < 1)).all())
    expected = jacobian_log_abs_det(lambda event: draw(event)[0], noise)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-8)


def test_noise_depends_on_the_levels(perturb: Perturb) -> None:
    dequantizer = _dequantizer(perturb)
    noise = torch.randn(1, 4, 2, 2, dtype=torch.float64)
    low, _ = dequantizer(torch.zeros(1, 1, 4, 4).double(), noise)
    high, _ = dequantizer(torch.full((1, 1, 4, 4), 16.0).double(), noise)
    assert not torch.allclose(low, high)


def test_fresh_dequantizer_is_a_rotated_logistic_of_gaussian_noise() -> None:
    dequantizer = VariationalDequantizer(
        1, levels=2, steps=1, width=2, depth=1, growth=1, context_growth=1
    )
    noise = torch.randn(2, 4, 1, 1)
    u, ladj = dequantizer(torch.zeros(2, 1, 2, 2), noise)
    logits = u.logit().flatten(1)
    torch.testing.assert_close(logits.norm(dim=1), noise.flatten(1).norm(dim=1))
    torch.testing.assert_close(ladj, (u * (1.0 - u)).log().sum(dim=(1, 2, 3)))
