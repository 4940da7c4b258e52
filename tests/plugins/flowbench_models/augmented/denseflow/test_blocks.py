from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowbench_models.augmented.denseflow.model import (
    CrossUnitCoupling,
    DenseFlowBlock,
    FlowUnit,
    NoiseNet,
)
from flowbench_models.augmented.denseflow.networks import PlainConvNet
from flowbench_models.bijections.base import BoundedAffine, Composition, HalfCoupling
from flowbench_models.bijections.channels import ActNorm, FlowStep, FullConv1x1
from tests.plugins.flowbench_models.fixtures import AssertIsBijection, JacobianLogAbsDet, Perturb


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
