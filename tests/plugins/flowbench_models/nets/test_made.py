from __future__ import annotations

from typing import Any

import pytest
import torch

from flowbench_models.nets.made import MADE
from tests.plugins.flowbench_models.fixtures import Perturb

NETS: dict[str, dict[str, Any]] = {
    "one layer": {"width": 16, "layers": 1},
    "three layers": {"width": 16, "layers": 3, "activation": "tanh"},
    "backwards": {"width": 16, "layers": 2, "reverse": True},
    "residual": {"width": 16, "layers": 2, "residual": True},
    "drawn degrees": {"width": 64, "layers": 2, "degree_seed": 7},
    "narrower than its input": {"width": 3, "layers": 2},
}


@pytest.mark.parametrize("case", NETS)
@pytest.mark.parametrize("num_dims", [2, 5])
def test_an_output_sees_the_elements_before_its_own_and_no_other(
    case: str, num_dims: int, perturb: Perturb
) -> None:
    net = perturb(MADE(num_dims, num_parameters=3, **NETS[case]), 1.0)
    x = torch.randn(64, num_dims, dtype=torch.float64)
    plain = net(x).view(64, 3, num_dims)
    place = {element: index for index, element in enumerate(net.order.tolist())}
    for moved in range(num_dims):
        other = x.clone()
        other[:, moved] += 1.0
        changed = (net(other).view(64, 3, num_dims) != plain).flatten(0, 1).any(dim=0)
        for output in range(num_dims):
            later = place[output] > place[moved]
            if case == "narrower than its input" and later:
                continue  # three units have no way for every pair
            assert bool(changed[output]) == later, (moved, output)


@pytest.mark.parametrize("case", NETS)
def test_elements_in_turn_give_what_one_pass_gives(case: str, perturb: Perturb) -> None:
    net = perturb(MADE(5, num_parameters=2, num_context=3, **NETS[case]))
    x, context = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    expected = net(x, context).view(4, 2, 5)
    in_turn = net.in_turn(4, context)
    for element in net.order.tolist():
        torch.testing.assert_close(in_turn.parameters(), expected[:, :, element])
        in_turn.append(x[:, element : element + 1])


def test_hidden_degrees_go_through_all_but_the_last_in_turn() -> None:
    net = MADE(4, 7, 1, num_parameters=1)
    assert net._linear(0).mask.sum(dim=1).tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert net._linear(1).mask.sum(dim=1).tolist() == [0, 3, 5, 7]


def test_a_context_reaches_all_elements_the_first_included(perturb: Perturb) -> None:
    net = perturb(MADE(4, 8, 1, num_parameters=1, num_context=2), 1.0)
    x, context = torch.randn(16, 4, dtype=torch.float64), torch.randn(16, 2, dtype=torch.float64)
    assert (net(x, context) != net(x, context + 1.0)).any(dim=0).all()


def test_drawn_degrees_are_those_of_the_seed() -> None:
    masks = [MADE(5, 32, 1, 1, degree_seed=seed)._linear(0).mask for seed in (1, 1, 2)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_it_can_be_counted_without_memory() -> None:
    with torch.device("meta"):
        net = MADE(784, 1024, 2, num_parameters=2)
    masked = 784 * 1024 + 1024 + 1024**2 + 1024 + 2 * (784 * 1024 + 784)
    assert sum(parameter.numel() for parameter in net.parameters()) == masked


def test_dropout_acts_in_training_alone(perturb: Perturb) -> None:
    net = perturb(MADE(3, 32, 1, 2, dropout=0.5, residual=True))
    x = torch.randn(4, 3, dtype=torch.float64)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_zero_output_starts_at_zero() -> None:
    assert torch.equal(MADE(3, 8, 2, 2, zero_output=True)(torch.randn(4, 3)), torch.zeros(4, 6))
