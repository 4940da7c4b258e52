from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.augmented.denseflow.networks import (
    FusionNet,
    NystromAttention,
    PlainConvNet,
    frozen_statistics,
    nystrom_attention,
    pseudo_inverse,
    run_checkpointed,
    segment_means,
)
from flowbench_models.nets.convolution import Conditioner, DenseBlock, PlainConv2d
from tests.plugins.flowbench_models.fixtures import Perturb


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


@pytest.mark.parametrize(
    ("num_inputs", "num_outputs", "depth", "growth", "count"),
    [
        (48, 48, 7, 64, 1_559_264),  # DenseFlow's coupling networks
        (3, 64, 4, 16, 32_976),  # its dequantizer's context, full size
        (64, 64, 4, 16, 108_128),  # and half size
    ],
)
def test_size_is_that_of_the_released_code(
    num_inputs: int, num_outputs: int, depth: int, growth: int, count: int
) -> None:
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
        _bias(block.gate).copy_(torch.tensor([3.0, 5.0, -100.0]))
    torch.testing.assert_close(block(torch.randn(1, 2, 2, 2)), torch.full((1, 1, 2, 2), 3.0))


def _tokens(num_tokens: int = 6, width: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (torch.randn(2, num_tokens, width, dtype=torch.float64) for _ in range(3))
    return q, k, v


Layout = Literal["faithful", "standard"]


def _bias(layer: torch.nn.Conv2d) -> torch.Tensor:
    assert layer.bias is not None
    return layer.bias


def _attention(layout: Layout, num_landmarks: int = 4) -> NystromAttention:
    return NystromAttention(5, head_width=3, num_landmarks=num_landmarks, layout=layout).double()


def test_with_every_token_a_landmark_it_is_softmax_attention() -> None:
    q, k, v = _tokens()
    attended = nystrom_attention(q, k, v, (q, k), normalised_dim=-1, iterations=60)
    torch.testing.assert_close(attended, (q @ k.mT).softmax(dim=-1) @ v, rtol=0, atol=1e-8)


def test_short_cut_for_as_many_landmarks_as_tokens_is_softmax_attention() -> None:
    attention = _attention("standard", num_landmarks=6)
    h = torch.randn(2, 5, 2, 3, dtype=torch.float64)
    tokens = torch.einsum("oi,bihw->bohw", attention.qkv.weight[:, :, 0, 0], h)
    tokens = (tokens + _bias(attention.qkv).view(1, -1, 1, 1)).flatten(2).mT  # (B, H * W, 3d)
    q, k, v = tokens.chunk(3, dim=-1)
    q = q / math.sqrt(3)
    exact = (q @ k.mT).softmax(dim=-1) @ v + v
    approximated = nystrom_attention(q, k, v, (q, k), normalised_dim=-1, iterations=60) + v
    torch.testing.assert_close(approximated, exact, rtol=0, atol=1e-8)
    expected = torch.einsum("oi,bti->bot", attention.output.weight[:, :, 0, 0], exact)
    expected = expected.view(2, 5, 2, 3) + _bias(attention.output).view(1, -1, 1, 1)
    torch.testing.assert_close(attention(h), expected)


def test_faithful_form_is_what_the_released_code_computes() -> None:
    """Every peculiarity, written out as loops over one example."""
    attention = _attention("faithful")
    h = torch.randn(1, 5, 4, 4, dtype=torch.float64)
    memory = attention.qkv(h).contiguous().flatten()  # channel-major: (9, 4, 4)
    tokens = torch.stack([memory[9 * i : 9 * i + 9] for i in range(16)])
    q, k, v = tokens[:, :3], tokens[:, 3:6], tokens[:, 6:]
    q_marks = torch.stack([q[4 * i : 4 * i + 4].mean(dim=0) for i in range(4)]) / math.sqrt(16)
    k_marks = torch.stack([k[4 * i : 4 * i + 4].mean(dim=0) for i in range(4)]) / math.sqrt(16)

    def over_queries(logits: Tensor) -> Tensor:
        return logits.exp() / logits.exp().sum(dim=0, keepdim=True)

    between = over_queries(q_marks @ k_marks.T)
    inverse = pseudo_inverse(between[None], 6)[0]
    attended = over_queries(q @ k_marks.T) @ inverse @ (over_queries(q_marks @ k.T) @ v) + v
    image = attended.flatten().view(1, 3, 4, 4)  # again the memory, not the positions
    torch.testing.assert_close(attention(h), attention.output(image))


def test_standard_form_with_fewer_landmarks_is_nystroms() -> None:
    """Position by position over one example: scaled queries, segment means, softmax over keys."""
    attention = _attention("standard")
    h = torch.randn(1, 5, 4, 4, dtype=torch.float64)
    qkv = attention.qkv(h)[0]
    tokens = torch.stack([qkv[:, i // 4, i % 4] for i in range(16)])
    q, k, v = tokens[:, :3] / math.sqrt(3), tokens[:, 3:6], tokens[:, 6:]
    q_marks = torch.stack([q[4 * i : 4 * i + 4].mean(dim=0) for i in range(4)])
    k_marks = torch.stack([k[4 * i : 4 * i + 4].mean(dim=0) for i in range(4)])

    def over_keys(logits: Tensor) -> Tensor:
        return logits.exp() / logits.exp().sum(dim=1, keepdim=True)

    inverse = pseudo_inverse(over_keys(q_marks @ k_marks.T)[None], 6)[0]
    attended = over_keys(q @ k_marks.T) @ inverse @ (over_keys(q_marks @ k.T) @ v) + v
    image = torch.stack([attended[i].view(1, 3) for i in range(16)], dim=2).view(1, 3, 4, 4)
    torch.testing.assert_close(attention(h), attention.output(image))


@pytest.mark.parametrize("layout", ["faithful", "standard"])
def test_memory_format_changes_nothing(layout: Layout) -> None:
    attention = _attention(layout)
    h = torch.randn(2, 5, 4, 6, dtype=torch.float64)
    strided = h.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(attention(strided), attention(h))


@pytest.mark.parametrize("layout", ["faithful", "standard"])
def test_under_autocast_only_the_convolutions_round(layout: Layout) -> None:
    attention = _attention(layout).float()
    with torch.no_grad():
        attention.qkv.weight.mul_(16.0)  # far from uniform attention
    h = torch.randn(8, 5, 8, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, qkv = attention(h), attention.qkv(h)
    exact = attention.output(attention._attend(qkv.float()))
    assert out.dtype == torch.bfloat16
    assert (out - exact).norm() < torch.finfo(torch.bfloat16).eps * exact.norm()


def test_attention_gives_back_the_precision_that_it_was_given() -> None:
    attention = _attention("standard").bfloat16()
    assert attention(torch.randn(2, 5, 4, 4).bfloat16()).dtype == torch.bfloat16


def test_standard_form_commutes_with_moving_positions() -> None:
    attention = _attention("standard", num_landmarks=1)  # then the segments do not matter
    h = torch.randn(2, 5, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(attention(h.flip(2)), attention(h).flip(2))


@pytest.mark.parametrize(("size", "count"), [((4, 4), 4), ((3, 3), 3), ((1, 1), 1), ((1, 2), 2)])
def test_landmarks_divide_the_tokens(size: tuple[int, int], count: int) -> None:
    attention = _attention("faithful")
    assert attention._count(torch.zeros(1, math.prod(size), 3)) == count
    assert attention(torch.randn(2, 5, *size, dtype=torch.float64)).isfinite().all()


def test_segment_means() -> None:
    tokens = torch.arange(6.0).view(1, 6, 1)
    torch.testing.assert_close(segment_means(tokens, 2), torch.tensor([[[1.0], [4.0]]]))


def test_pseudo_inverse_converges_to_the_inverse() -> None:
    matrix = torch.rand(3, 4, 4, dtype=torch.float64).softmax(dim=-1)
    inverse = pseudo_inverse(matrix, 60)
    identity = torch.eye(4, dtype=torch.float64).expand(3, 4, 4)
    torch.testing.assert_close(matrix @ inverse, identity, rtol=0, atol=1e-8)


def test_six_iterations_are_enough_for_a_well_conditioned_matrix() -> None:
    matrix = (3.0 * torch.eye(4)).softmax(dim=-1)[None]
    torch.testing.assert_close(pseudo_inverse(matrix, 6)[0], torch.linalg.inv(matrix[0]))


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
def test_paper_networks_have_the_counts_of_the_released_code(channels: int, count: int) -> None:
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
def test_output_starts_at_zero(attention: str) -> None:
    out = _net(attention=attention)(torch.randn(2, 3, 4, 4))
    torch.testing.assert_close(out, torch.zeros(2, 4, 4, 4))


@pytest.mark.parametrize("num_outputs", [2, 40])
def test_last_two_convolutions_are_one_where_that_is_less_work(
    num_outputs: int, perturb: Perturb
) -> None:
    settings = {"width": 6, "depth": 1, "growth": 2, "head_width": 2, "num_landmarks": 4}
    net = perturb(FusionNet(3, num_outputs, attention="standard", **settings))
    h = torch.randn(2, 12, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(net._project(h), net.output(net.fuse(h)))


def test_without_attention_only_near_positions_matter(perturb: Perturb) -> None:
    h = torch.zeros(1, 3, 5, 5, dtype=torch.float64)
    far = h.clone()
    far[..., 4, 4] = 1.0
    for attention, moved in ((None, False), ("standard", True)):
        net = perturb(_net(attention=attention)).eval()
        assert bool((net(far)[..., 0, 0] != net(h)[..., 0, 0]).any()) is moved


def test_evaluation_uses_running_statistics(perturb: Perturb) -> None:
    net = perturb(_net())
    h = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    net(h)
    net.eval()
    torch.testing.assert_close(net(h)[:2], net(h[:2]))


def test_dropout_acts_in_training_alone(perturb: Perturb) -> None:
    net = perturb(_net(dropout=0.5))
    h = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    assert not torch.equal(net(h), net(h))
    net.eval()
    torch.testing.assert_close(net(h), net(h))


class _Counting(Conditioner):
    """Counts how often it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5))
        self.num_runs = 0

    def forward(self, h: Tensor) -> Tensor:
        self.num_runs += 1
        out: Tensor = self.layers(h)
        return out


def _twins() -> tuple[_Counting, _Counting, Tensor]:
    plain, kept = _Counting(), _Counting()
    kept.load_state_dict(plain.state_dict())
    return plain, kept, torch.randn(4, 2, 3, 3)


def _train_step(net: _Counting, run: Any, h: Tensor) -> Tensor:
    torch.manual_seed(1)  # of the dropout
    out: Tensor = run(h)
    torch.manual_seed(2)
    out.square().sum().backward()
    return out


def test_values_gradients_and_statistics_are_those_of_a_plain_run() -> None:
    plain, kept, h = _twins()
    out = _train_step(plain, plain, h)
    recomputed = _train_step(kept, lambda x: run_checkpointed(kept, x), h)
    assert (plain.num_runs, kept.num_runs) == (1, 2)
    torch.testing.assert_close(recomputed, out)
    torch.testing.assert_close(kept.state_dict(), plain.state_dict())
    for mine, theirs in zip(kept.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_without_gradients_nothing_is_recomputed() -> None:
    _, net, h = _twins()
    with torch.no_grad():
        run_checkpointed(net, h)
    assert net.num_runs == 1


@pytest.mark.slow
def test_a_network_without_batch_norms_is_recomputed_when_compiled() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(inplace=True), nn.Conv2d(3, 2, 1))
    h = torch.randn(4, 2, 3, 3)
    gradients = []
    compiled = torch.compile(
        lambda x: run_checkpointed(net, x), backend="aot_eager", fullgraph=True
    )
    for run in (net, compiled):
        net.zero_grad()
        run(h).square().sum().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_statistics_are_thawed_after_an_error() -> None:
    _, net, _ = _twins()
    with pytest.raises(ValueError, match="stop"), frozen_statistics(net):
        raise ValueError("stop")
    norm = net.layers[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.momentum == 0.1  # torch's default
