from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowbench_models.nets.attention import LONGEST, RUN, attend

ROUGH = {"rtol": 0.05, "atol": 0.05}  # of numbers with eight significant bits
LENGTHS = [1, RUN - 1, RUN, RUN + 1, 2 * RUN, 3 * RUN + 5, LONGEST + 1]


def projected(num: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Queries, keys and values of two sequences, three heads, as one product gives them."""
    generator = torch.Generator().manual_seed(num)
    return torch.randn(2, num, 3, 3, 4, generator=generator, dtype=dtype, requires_grad=True)


def written_out(heads: Tensor, *, causal: bool) -> Tensor:
    q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)
    logits = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
    if causal:
        seen = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).tril()
        logits = logits.masked_fill(~seen, -torch.inf)
    return (logits.softmax(dim=-1) @ v).transpose(1, 2)


@pytest.mark.parametrize("num", LENGTHS)
@pytest.mark.parametrize("causal", [True, False])
def test_values_and_gradients_are_those_of_the_formula(num: int, causal: bool) -> None:
    heads = projected(num)
    expected, found = written_out(heads, causal=causal), attend(heads, causal=causal)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(expected.shape, dtype=torch.float64)
    gradients = [torch.autograd.grad((y * weights).sum(), heads)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_single_precision_is_near_double() -> None:
    heads = projected(3 * RUN + 5)
    found = attend(heads.float(), causal=True)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), attend(heads, causal=True), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_half_precision_keeps_its_type() -> None:
    heads = projected(2 * RUN).bfloat16()
    found = attend(heads, causal=True)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), written_out(heads.double(), causal=True), **ROUGH)


@pytest.mark.parametrize("moved", [0, RUN - 1, RUN, 2 * RUN + 3])
@torch.no_grad()
def test_a_token_moves_itself_and_those_after_it(moved: int) -> None:
    heads = projected(3 * RUN + 5)
    before = attend(heads, causal=True)
    heads[:, moved] += 1.0
    change = (attend(heads, causal=True) - before).abs().amax(dim=(0, 2, 3))
    assert torch.equal(change[:moved], torch.zeros(moved, dtype=torch.float64))
    assert (change[moved:] > 1e-9).all()
