from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from flowbench_models.nets.convnet import ActNormConv2d, GlowConvNet, ZeroConv2d


@pytest.mark.parametrize("kernel", [1, 3])
def test_folded_actnorm_equals_convolution_then_actnorm_then_relu(kernel, perturb) -> None:
    layer = perturb(ActNormConv2d(3, 4, kernel))
    h = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    apart, _ = layer.norm(F.conv2d(h, layer.weight, padding=kernel // 2))
    torch.testing.assert_close(layer(h), apart.relu())


def test_first_batch_leaves_each_hidden_layer_normalised() -> None:
    layer, h = ActNormConv2d(3, 4, 3), 2.0 + torch.randn(16, 3, 6, 6)
    layer.initialize(h)
    normalised, _ = layer.norm(F.conv2d(h, layer.weight, padding=1))
    std, mean = torch.std_mean(normalised, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(std, torch.ones(4), rtol=0, atol=1e-3)


def test_zero_conv_starts_at_zero_and_scales_its_bias_too() -> None:
    layer, h = ZeroConv2d(3, 2), torch.randn(2, 3, 4, 4)
    assert torch.equal(layer(h), torch.zeros(2, 2, 4, 4))
    with torch.no_grad():
        layer.bias.fill_(1.0)
        layer.log_scale.fill_(0.5)
    torch.testing.assert_close(layer(h), torch.full((2, 2, 4, 4), 1.5).exp())


def test_network_has_one_convolution_for_each_kernel_and_a_zero_output() -> None:
    net = GlowConvNet(3, 6, width=5, hidden_kernels=(3, 3, 1), output_kernel=1)
    assert [tuple(p.shape) for p in net.parameters() if p.ndim == 4] == [
        (5, 3, 3, 3),
        (5, 5, 3, 3),
        (5, 5, 1, 1),
        (6, 5, 1, 1),
    ]
    assert torch.equal(net.initialize(torch.randn(4, 3, 4, 4)), torch.zeros(4, 6, 4, 4))


def test_dropout_acts_in_training_alone(perturb) -> None:
    net, h = perturb(GlowConvNet(2, 2, width=16, dropout=0.5)), torch.randn(1, 2, 3, 3).double()
    assert not torch.equal(net(h), net(h))
    net.eval()
    assert torch.equal(net(h), net(h))
