from __future__ import annotations

from typing import Any

import pytest
import torch

from flowbench_models.coupling.realnvp.networks import ResNet, WeightNormConv2d, concatenated_relu


def test_weight_norm_makes_the_output_independent_of_the_weights_length() -> None:
    layer, h = WeightNormConv2d(3, 4, 3, bias=False, gain=False), torch.randn(2, 3, 5, 5)
    before = layer(h)
    with torch.no_grad():
        layer.weight.mul_(7.0)
    torch.testing.assert_close(layer(h), before)


def test_weight_norm_gain_is_the_norm_of_each_filter() -> None:
    layer = WeightNormConv2d(1, 2, 1, bias=False, gain=True)
    with torch.no_grad():
        assert layer.gain is not None
        layer.gain.copy_(torch.tensor([2.0, 3.0]))
    output = layer(torch.ones(1, 1, 1, 1))
    torch.testing.assert_close(output.abs().flatten(), torch.tensor([2.0, 3.0]))


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_residual_network_keeps_height_and_width(norm: Any) -> None:
    net = ResNet(3, 5, width=4, blocks=2, norm=norm)
    assert net(torch.randn(2, 3, 4, 6)).shape == (2, 5, 4, 6)


def test_evaluation_does_not_depend_on_the_rest_of_the_batch() -> None:
    net = ResNet(3, 5, width=4, blocks=1, norm="batch").double()
    h = torch.randn(4, 3, 4, 4, dtype=torch.float64)
    net(h)
    net.eval()
    torch.testing.assert_close(net(h)[:1], net(h[:1]))


def test_concatenated_relu_keeps_both_signs() -> None:
    h = torch.tensor([[1.0, -2.0]])
    assert concatenated_relu(h).tolist() == [[1.0, 0.0, 0.0, 2.0]]
