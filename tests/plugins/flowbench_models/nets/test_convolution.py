from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from flowbench_models.nets.convolution import convolve, full_precision


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kernel", [1, 3])
def test_equals_a_padded_convolution_in_value_and_gradient(
    kernel: int, memory_format: torch.memory_format
) -> None:
    h = torch.randn(2, 3, 5, 4, dtype=torch.float64).contiguous(memory_format=memory_format)
    weight = torch.randn(6, 3, kernel, kernel, dtype=torch.float64)
    bias = torch.randn(6, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (h, weight, bias)]
    expected = F.conv2d(h, weight, bias, padding=kernel // 2)
    out = convolve(h, weight, bias)
    torch.testing.assert_close(out, expected, check_stride=False)
    gradient = torch.randn_like(out)
    for ours, theirs in zip(
        torch.autograd.grad(out, inputs, gradient),
        torch.autograd.grad(expected, inputs, gradient),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, check_stride=False)


@pytest.mark.parametrize("kernel", [1, 3])
def test_channels_last_data_stay_channels_last(kernel: int) -> None:
    h = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    out = convolve(h, torch.randn(6, 3, kernel, kernel), None)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_autocast_is_left_and_taken_up_again() -> None:
    x = torch.randn(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with full_precision(x):
            assert (x @ x).dtype == torch.float32
        assert (x @ x).dtype == torch.bfloat16
    with full_precision(x):
        assert (x @ x).dtype == torch.float32
