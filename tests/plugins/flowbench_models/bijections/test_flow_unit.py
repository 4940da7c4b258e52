from __future__ import annotations

import pytest
import torch

from flowbench_models.bijections import ActNorm, Composition
from flowbench_models.bijections.bounded_affine import BoundedAffine
from flowbench_models.bijections.flow_unit import FlowModule, FlowUnit, SwapCoupling
from flowbench_models.nets.plain_conv import PlainConvNet


def _coupling(num_channels: int) -> SwapCoupling:
    transformed = num_channels // 2
    net = PlainConvNet(num_channels - transformed, 2 * transformed, width=3)
    return SwapCoupling(BoundedAffine(), net)


def _unit(num_channels: int, num_modules: int = 2) -> FlowUnit:
    return FlowUnit(FlowModule(num_channels, _coupling(num_channels)) for _ in range(num_modules))


@pytest.mark.parametrize("num_channels", [4, 5])
def test_coupling_is_a_bijection(num_channels, perturb, assert_is_bijection) -> None:
    x = torch.randn(2, num_channels, 2, 3, dtype=torch.float64)
    assert_is_bijection(perturb(_coupling(num_channels)), x)


def test_fresh_coupling_only_swaps_the_halves() -> None:
    x = torch.randn(2, 5, 2, 2)
    z, ladj = _coupling(5)(x)
    torch.testing.assert_close(z, torch.cat((x[:, 3:], x[:, :3]), dim=1))
    torch.testing.assert_close(ladj, torch.zeros(2))


@pytest.mark.parametrize("num_channels", [4, 5])
def test_unit_is_a_bijection(num_channels, perturb, assert_is_bijection) -> None:
    x = torch.randn(2, num_channels, 2, 3, dtype=torch.float64)
    assert_is_bijection(perturb(_unit(num_channels)), x)


def test_folded_unit_equals_its_modules_one_after_the_other(perturb) -> None:
    unit = perturb(_unit(4))
    x = torch.randn(2, 4, 3, 2, dtype=torch.float64)
    torch.testing.assert_close(unit(x), Composition(unit.flow_modules())(x))


def test_first_batch_normalises_every_actnorm() -> None:
    unit, x = _unit(4), 3.0 + 2.0 * torch.randn(16, 4, 4, 4)
    unit.initialize(x)
    for module in unit.flow_modules():
        assert module.norm.initialized
        x, _ = ActNorm.forward(module.norm, x)
        std, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(mean, torch.zeros(4), rtol=0, atol=1e-4)
        torch.testing.assert_close(std, torch.ones(4), rtol=0, atol=1e-4)
        x, _ = module.coupling(module.mixing(x)[0])
