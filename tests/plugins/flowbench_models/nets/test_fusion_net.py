from __future__ import annotations

import pytest
import torch

from flowbench_models.nets.fusion_net import FusionNet


def _net(**changes: object) -> FusionNet:
    settings: dict[str, object] = {
        "width": 6,
        "depth": 1,
        "growth": 2,
        "attention": "standard",
        "head_width": 2,
        "num_landmarks": 4,
    }
    return FusionNet(3, 4, **(settings | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("channels", "count"), [(12, 1_569_716), (62, 1_573_366), (308, 1_591_324)]
)
def test_paper_networks_have_the_counts_of_the_released_code(channels, count) -> None:
    net = FusionNet(
        channels // 2,
        channels,
        width=48,
        depth=7,
        growth=64,
        attention="faithful",
        head_width=24,
        num_landmarks=4,
    )
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize("attention", ["standard", "faithful", None])
def test_output_starts_at_zero(attention) -> None:
    out = _net(attention=attention)(torch.randn(2, 3, 4, 4))
    torch.testing.assert_close(out, torch.zeros(2, 4, 4, 4))


@pytest.mark.parametrize("num_outputs", [2, 40])
def test_last_two_convolutions_are_one_where_that_is_less_work(num_outputs, perturb) -> None:
    settings = {"width": 6, "depth": 1, "growth": 2, "head_width": 2, "num_landmarks": 4}
    net = perturb(FusionNet(3, num_outputs, attention="standard", **settings))
    h = torch.randn(2, 12, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(net._project(h), net.output(net.fuse(h)))


def test_without_attention_only_near_positions_matter(perturb) -> None:
    h = torch.zeros(1, 3, 5, 5, dtype=torch.float64)
    far = h.clone()
    far[..., 4, 4] = 1.0
    for attention, moved in ((None, False), ("standard", True)):
        net = perturb(_net(attention=attention)).eval()
        assert bool((net(far)[..., 0, 0] != net(h)[..., 0, 0]).any()) is moved


def test_evaluation_uses_running_statistics(perturb) -> None:
    net = perturb(_net())
    h = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    net(h)
    net.eval()
    torch.testing.assert_close(net(h)[:2], net(h[:2]))


def test_dropout_acts_in_training_alone(perturb) -> None:
    net = perturb(_net(dropout=0.5))
    h = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    assert not torch.equal(net(h), net(h))
    net.eval()
    torch.testing.assert_close(net(h), net(h))
