from __future__ import annotations

import pytest
import torch

from flowbench_models.nets.dense_block import DenseBlock


@pytest.mark.parametrize(
    ("num_inputs", "num_outputs", "depth", "growth", "count"),
    [
        (48, 48, 7, 64, 1_559_264),  # DenseFlow's coupling networks
        (3, 64, 4, 16, 32_976),  # its dequantizer's context, full size
        (64, 64, 4, 16, 108_128),  # and half size
    ],
)
def test_size_is_that_of_the_released_code(num_inputs, num_outputs, depth, growth, count) -> None:
    block = DenseBlock(num_inputs, num_outputs, depth=depth, growth=growth)
    assert sum(p.numel() for p in block.parameters()) == count


def test_shapes_and_receptive_field() -> None:
    block = DenseBlock(3, 5, depth=2, growth=4).double()
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64)
    out = block(x)
    assert out.shape == (2, 5, 7, 7)
    x[:, :, 0, 0] += 1.0  # two 3x3 convolutions see two positions far
    moved = (block(x) != out).any(dim=0).any(dim=0)
    assert moved[:3, :3].all()
    assert not moved[3:].any()
    assert not moved[:, 3:].any()


def test_residual_block_adds_its_input() -> None:
    block = DenseBlock(4, 4, depth=1, growth=2, residual=True)
    plain = DenseBlock(4, 4, depth=1, growth=2)
    plain.load_state_dict(block.state_dict())
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(block(x), x + plain(x))


def test_closed_gate_leaves_the_offset() -> None:
    block = DenseBlock(2, 1, depth=1, growth=1)
    with torch.no_grad():
        block.gate.weight.zero_()
        block.gate.bias.copy_(torch.tensor([3.0, 5.0, -100.0]))
    torch.testing.assert_close(block(torch.randn(1, 2, 2, 2)), torch.full((1, 1, 2, 2), 3.0))
