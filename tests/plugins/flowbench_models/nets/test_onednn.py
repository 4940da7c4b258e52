from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from flowbench_models.nets import onednn


@pytest.mark.parametrize(("width_in", "width_out"), [(5, 7), (7, 5)])
def test_values_and_gradients_are_those_of_the_layer(width_in: int, width_out: int) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(width_in, width_out)
    x = torch.randn(2, 3, width_in, generator=generator, requires_grad=True)
    weights = torch.randn(2, 3, width_out, generator=generator)
    inputs = (x, layer.weight, layer.bias)
    expected = torch.autograd.grad((layer(x) * weights).sum(), inputs)
    found = torch.autograd.grad((onednn.linear(x, layer) * weights).sum(), inputs)
    torch.testing.assert_close(onednn.linear(x, layer), layer(x))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.skipif(not onednn.usable(torch.zeros(1)), reason="this torch has no oneDNN products")
def test_a_second_derivative_is_an_error_and_not_a_zero() -> None:
    layer = nn.Linear(3, 3)
    x = torch.ones(1, 3, requires_grad=True)
    (first,) = torch.autograd.grad(onednn.linear(x, layer).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_double_precision_and_autocast_take_the_ordinary_way() -> None:
    layer = nn.Linear(3, 3)
    assert onednn.linear(torch.ones(1, 3).double(), layer.double()).dtype == torch.float64
    assert not onednn.usable(layer.weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert onednn.linear(torch.ones(1, 3), layer.float()).dtype == torch.bfloat16


def test_the_work_is_counted_by_a_counter_from_before_the_first_product() -> None:
    layer = nn.Linear(5, 7)
    with FlopCounterMode(display=False) as counter:
        onednn.linear(torch.ones(2, 3, 5, requires_grad=True), layer).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * (2 * 3) * 5 * 7  # forward, input and weight
