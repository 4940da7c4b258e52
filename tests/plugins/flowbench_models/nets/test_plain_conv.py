from __future__ import annotations

import torch
import torch.nn.functional as F

from flowbench_models.nets.plain_conv import PlainConv2d, PlainConvNet


def test_equals_a_convolution_with_relu() -> None:
    for kernel_size in (1, 3):
        conv = PlainConv2d(3, 4, kernel_size, rectify=True)
        h = torch.randn(2, 3, 5, 6)
        expected = F.relu(F.conv2d(h, conv.weight, conv.bias, padding=kernel_size // 2))
        torch.testing.assert_close(conv(h), expected)


def test_zero_initialised_convolution_without_bias() -> None:
    conv = PlainConv2d(3, 4, bias=False, zero=True)
    assert conv.bias is None
    assert not conv.weight.any()


def test_network_starts_at_zero_and_has_glows_topology() -> None:
    net = PlainConvNet(6, 12, width=512)
    # 3x3 (6 -> W), 1x1 (W -> W), 3x3 (W -> 12), all with bias
    width = 512
    expected = 6 * 9 * width + width + width * width + width + 9 * width * 12 + 12
    assert sum(p.numel() for p in net.parameters()) == expected
    assert not net(torch.randn(2, 6, 4, 4)).any()
