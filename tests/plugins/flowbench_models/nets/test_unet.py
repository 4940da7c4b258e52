from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from flowbench_models.nets.ddpmpp import DDPMpp
from flowbench_models.nets.time_embedding import sinusoids
from flowbench_models.nets.time_mlp import TimeMLP
from flowbench_models.nets.unet import AttentionBlock, UNet, group_norm
from tests.plugins.flowbench_models.fixtures import Perturb

SMALL: dict[str, Any] = {"width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (2,)}
NETWORKS: dict[str, nn.Module] = {
    "convolution": UNet(3, 3, **SMALL, heads=2),
    "pool": UNet(3, 3, **SMALL, resample="pool", scale_shift=True),
    "residual": UNet(3, 3, **SMALL, resample="residual", head_channels=8),
    "ddpmpp": DDPMpp(3, **SMALL),
    "ddpm": DDPMpp(3, **SMALL, rescale=False, resample="convolution", attention_back="each"),
    "mlp": TimeMLP(3 * 8 * 4, width=8, blocks=2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_depend_on_time_and_on_no_other_example(name: str, perturb: Perturb) -> None:
    net = perturb(NETWORKS[name]).eval()
    x, t = torch.randn(3, 3, 8, 4, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    out = net(t, x)
    assert out.shape == x.shape
    torch.testing.assert_close(net(t[:1], x[:1]), out[:1])
    assert not torch.allclose(net(1 - t, x), out)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_has_a_gradient(name: str, perturb: Perturb) -> None:
    net = perturb(NETWORKS[name])
    net(torch.rand(2).double(), torch.randn(2, 3, 8, 4).double()).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    net.zero_grad(set_to_none=True)


@pytest.mark.parametrize(
    "net", [UNet(1, 1, **SMALL, num_labels=4), TimeMLP(16, width=8, blocks=1, num_labels=4)]
)
def test_labels_matter_where_a_network_knows_them(net: nn.Module, perturb: Perturb) -> None:
    net = perturb(net).eval()
    x, t = torch.randn(1, 1, 4, 4, dtype=torch.float64), torch.rand(1, dtype=torch.float64)
    outputs = [net(t, x, torch.tensor([label])) for label in range(4)]
    assert all(not torch.allclose(outputs[0], other) for other in outputs[1:])


def test_unets_begin_at_zero() -> None:
    out = UNet(2, 5, **SMALL)(torch.rand(3), torch.randn(3, 2, 4, 4))
    assert out.shape == (3, 5, 4, 4)
    assert not out.any()


def test_attention_is_that_of_its_formula(perturb: Perturb) -> None:
    block = perturb(AttentionBlock(8, heads=2)).eval()
    x = torch.randn(2, 8, 2, 3, dtype=torch.float64)
    qkv = block.qkv(block.norm(x).flatten(2)).view(2, 2, 12, 6)
    q, k, v = (part.transpose(2, 3) for part in qkv.split(4, dim=2))
    out = nn.functional.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(2, 8, 6)
    torch.testing.assert_close(block(x), x + block.leave(out).view_as(x))


@pytest.mark.parametrize(("inclusive", "lowest"), [(True, 1e-4), (False, 1e-2)])
def test_sinusoids_fall_from_1_to_their_lowest_frequency(inclusive: bool, lowest: float) -> None:
    t = torch.tensor([0.5], dtype=torch.float64)
    told = sinusoids(t, 4, inclusive=inclusive)[0]
    expected = [angle.cos() for angle in (t, lowest * t)] + [a.sin() for a in (t, lowest * t)]
    torch.testing.assert_close(told, torch.cat(expected))


@pytest.mark.parametrize("channels", [8, 12, 18, 32, 96, 128, 192, 384])
def test_groups_hold_several_channels_and_no_more_than_32_there_are(channels: int) -> None:
    norm = group_norm(channels)
    assert channels // norm.num_groups >= 4
    assert norm.num_groups == 32 or channels < 128
