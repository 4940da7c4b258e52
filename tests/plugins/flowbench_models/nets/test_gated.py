from __future__ import annotations

from typing import Any

import pytest
import torch

from flowbench_models.nets.calibrated import CalibratedConv2d
from flowbench_models.nets.gated import GatedMixing, GatedNet, waves

SIZE = (4, 6)


def _net(**options: Any) -> GatedNet:
    return GatedNet(2, 5, SIZE, **{"width": 8, "blocks": 2, **options})


@pytest.mark.parametrize("weight_norm", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.1, 0.0])
def test_a_first_batch_calibrates_a_convolution(weight_norm: bool, scale: float) -> None:
    layer = CalibratedConv2d(3, 4, 3, weight_norm=weight_norm, scale=scale)
    h = 5.0 + 2.0 * torch.randn(16, 3, 6, 6)
    out = layer.initialize(h)
    assert torch.equal(out, layer(h))
    torch.testing.assert_close(out.mean(dim=(0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-5)
    spread = out.std(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(spread, torch.full((4,), scale), rtol=1e-3, atol=1e-6)


def test_weight_norm_sets_the_length_apart() -> None:
    layer = CalibratedConv2d(3, 4, 3, weight_norm=True)
    assert layer.magnitude is not None
    layer.magnitude.data = torch.arange(1.0, 5.0)
    torch.testing.assert_close(layer.kernel().flatten(1).norm(dim=1), torch.arange(1.0, 5.0))
    longer = 3.0 * layer.weight.data
    before = layer.kernel()
    layer.weight.data = longer
    torch.testing.assert_close(layer.kernel(), before)


@pytest.mark.parametrize("mixing", ["attention", "pointwise", "none"])
def test_only_attention_sees_all_positions(mixing: Any) -> None:
    net = _net(mixing=mixing, blocks=1).double()
    h = torch.randn(1, 2, *SIZE, dtype=torch.float64, requires_grad=True)
    # Three 3x3 convolutions see three positions to each side.
    (gradient,) = torch.autograd.grad(net(h)[0, :, 0, 0].sum(), h)
    assert bool(gradient[0, :, -1, -1].any()) == (mixing == "attention")
    assert gradient[0, :, 1, 1].any()


def test_attention_is_that_of_the_formula() -> None:
    block = GatedMixing(4, heads=2, mixing="attention").double()
    h = torch.randn(1, 4, 2, 3, dtype=torch.float64)
    positions = torch.zeros(4, 2, 3, dtype=torch.float64)
    q, k, v = block.projection(h).flatten(2)[0].view(3, 2, 2, 6)  # heads, width, positions
    weights = (q.mT @ k / 2**0.5).softmax(dim=-1)
    mixed = (weights @ v.mT).mT.reshape(1, 4, 2, 3)
    value, gate = block.gate(mixed).chunk(2, dim=1)
    torch.testing.assert_close(block(h, positions, False), h + value * gate.sigmoid())


def test_pointwise_layers_have_as_many_parameters_as_attention() -> None:
    counts = [
        sum(p.numel() for p in _net(mixing=mixing).parameters())
        for mixing in ("attention", "pointwise")
    ]
    assert counts[0] == counts[1]


def test_a_first_batch_gives_small_outputs_and_the_context_counts() -> None:
    net = _net(num_context=3)
    h, context = torch.randn(32, 2, *SIZE), torch.randn(32, 3, *SIZE)
    out = net.initialize(h, context)
    torch.testing.assert_close(net(h, context), out)
    torch.testing.assert_close(out.std(dim=(0, 2, 3)), torch.full((5,), 0.1), rtol=0.01, atol=0)
    assert not torch.allclose(net(h, -context), out)


def test_what_is_not_calibrated_stays_as_it_starts() -> None:
    net = _net(calibrated=False, positions="waves", weight_norm=True)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    h = torch.randn(4, 2, *SIZE)
    torch.testing.assert_close(net.initialize(h), net(h))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.mixings[0].projection.bias is None  # type: ignore[union-attr]


def test_waves_are_sines_and_cosines_of_lengths_from_1_to_10000() -> None:
    found = waves(6, 2, 3)
    angles = torch.arange(6).view(2, 3) / 100.0
    torch.testing.assert_close(found[1], angles.sin())
    torch.testing.assert_close(found[4], angles.cos())
    torch.testing.assert_close(found[0], torch.arange(6.0).view(2, 3).sin())
