from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowbench_models.nets.nystrom import (
    NystromAttention,
    nystrom_attention,
    pseudo_inverse,
    segment_means,
)


def _tokens(num_tokens: int = 6, width: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (torch.randn(2, num_tokens, width, dtype=torch.float64) for _ in range(3))
    return q, k, v


def _attention(layout: str, num_landmarks: int = 4) -> NystromAttention:
    return NystromAttention(5, head_width=3, num_landmarks=num_landmarks, layout=layout).double()


def test_with_every_token_a_landmark_it_is_softmax_attention() -> None:
    q, k, v = _tokens()
    attended = nystrom_attention(q, k, v, (q, k), normalised_dim=-1, iterations=60)
    torch.testing.assert_close(attended, (q @ k.mT).softmax(dim=-1) @ v, rtol=0, atol=1e-8)


def test_short_cut_for_as_many_landmarks_as_tokens_is_softmax_attention() -> None:
    attention = _attention("standard", num_landmarks=6)
    h = torch.randn(2, 5, 2, 3, dtype=torch.float64)
    tokens = torch.einsum("oi,bihw->bohw", attention.qkv.weight[:, :, 0, 0], h)
    tokens = (tokens + attention.qkv.bias.view(1, -1, 1, 1)).flatten(2).mT  # (B, H * W, 3d)
    q, k, v = tokens.chunk(3, dim=-1)
    q = q / math.sqrt(3)
    exact = (q @ k.mT).softmax(dim=-1) @ v + v
    approximated = nystrom_attention(q, k, v, (q, k), normalised_dim=-1, iterations=60) + v
    torch.testing.assert_close(approximated, exact, rtol=0, atol=1e-8)
    expected = torch.einsum("oi,bti->bot", attention.output.weight[:, :, 0, 0], exact)
    expected = expected.view(2, 5, 2, 3) + attention.output.bias.view(1, -1, 1, 1)
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
def test_memory_format_changes_nothing(layout) -> None:
    attention = _attention(layout)
    h = torch.randn(2, 5, 4, 6, dtype=torch.float64)
    strided = h.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(attention(strided), attention(h))


@pytest.mark.parametrize("layout", ["faithful", "standard"])
def test_under_autocast_only_the_convolutions_round(layout) -> None:
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
def test_landmarks_divide_the_tokens(size, count) -> None:
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
