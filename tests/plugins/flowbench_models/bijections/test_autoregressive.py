from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
import torch.nn.functional as F

from flowbench_models.bijections.autoregressive import Autoregressive, InverseAutoregressive
from flowbench_models.bijections.base import ElementwiseMap, SigmoidAffine
from flowbench_models.bijections.splines import RationalQuadraticSpline
from flowbench_models.nets.made import MADE
from tests.plugins.flowbench_models.fixtures import AssertIsBijection, Perturb

LAWS: dict[str, Callable[[], ElementwiseMap]] = {
    "affine": SigmoidAffine,
    "spline": lambda: RationalQuadraticSpline(4, 2.0),
}
NETS: dict[str, dict[str, Any]] = {
    "one layer": {"width": 9, "layers": 1},
    "two layers, backwards": {"width": 9, "layers": 2, "reverse": True},
    "no layer": {"width": 9, "layers": 0},
    "residual": {"width": 8, "layers": 2, "residual": True},
    "drawn degrees": {"width": 7, "layers": 2, "degree_seed": 1, "activation": "tanh"},
}


def _make(law: str, net: str, perturb: Perturb, num_dims: int = 4, **more: Any) -> Autoregressive:
    made: ElementwiseMap = LAWS[law]()
    network = MADE(num_dims, num_parameters=made.num_parameters, **NETS[net], **more)
    return perturb(Autoregressive(made, network))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("num_dims", [1, 2, 5])
def test_both_directions_are_bijections(
    law: str,
    net: str,
    num_dims: int,
    perturb: Perturb,
    assert_is_bijection: AssertIsBijection,
) -> None:
    flow = _make(law, net, perturb, num_dims)
    x = torch.randn(3, num_dims, dtype=torch.float64)
    assert_is_bijection(flow, x)
    assert_is_bijection(InverseAutoregressive(flow), x)


@pytest.mark.parametrize("net", NETS)
def test_the_two_directions_undo_each_other(net: str, perturb: Perturb) -> None:
    flow = _make("affine", net, perturb)
    z = torch.randn(3, 4, dtype=torch.float64)
    x, ladj = InverseAutoregressive(flow)(z)
    back, back_ladj = flow(x)
    torch.testing.assert_close(back, z)
    torch.testing.assert_close(back_ladj, -ladj)


@pytest.mark.parametrize("net", ["two layers, backwards", "residual", "drawn degrees"])
def test_a_context_conditions_both_directions(net: str, perturb: Perturb) -> None:
    flow = _make("affine", net, perturb, num_context=2)
    x, context = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, 2, dtype=torch.float64)
    z, _ = flow(x, context)
    torch.testing.assert_close(flow.inverse(z, context), x)
    assert (flow(x, 2 * context)[0] != z).any(dim=0).all()
    inverse = InverseAutoregressive(flow)
    torch.testing.assert_close(inverse(inverse.inverse(x, context), context)[0], x)


def test_the_sequential_inverse_multiplies_as_often_as_one_pass(perturb: Perturb) -> None:
    """Every unit is computed once: not D passes, as in the libraries."""
    num_dims = 12
    flow = _make("affine", "residual", perturb, num_dims)
    z = torch.randn(3, num_dims, dtype=torch.float64)
    weights = []

    def counted(h: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        weights.append(weight.numel())
        return torch.addmm(bias, h, weight.T)

    with mock.patch.object(F, "linear", counted):
        flow(z)
        in_one_pass = sum(weights)
        weights.clear()
        flow.inverse(z)
    assert sum(weights) <= in_one_pass


def test_dropout_in_training_leaves_a_solved_density_consistent(perturb: Perturb) -> None:
    flow = _make("affine", "residual", perturb, dropout=0.5).train()
    x, parameters = flow.solve(torch.randn(64, 4, dtype=torch.float64))
    z, _ = flow.law(x, parameters)
    torch.manual_seed(1)
    first, _ = flow.solve(z)
    torch.manual_seed(2)
    second, _ = flow.solve(z)
    assert not torch.equal(first, second)
