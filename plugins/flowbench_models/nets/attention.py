r"""Softmax attention among tokens, :math:`\mathrm{softmax}(q k^\top / \sqrt{d})\, v`.

torch's kernel for CPUs computes the masked products of causal attention too, and all probabilities
again in the backward pass. Taken in runs of a few queries, each with the keys up to its own last,
three eighths of all products are left out for 256 tokens; and the probabilities of short sequences
can be kept.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

RUN = 64  # queries at a time: fewer make small products, more compute what is masked
LONGEST = 512  # tokens; their probabilities take as much memory as a hidden layer of the perceptron


def attend(heads: Tensor, *, causal: bool) -> Tensor:
    """Mixes the values of tokens.

    Args:
        heads: Queries, keys and values, shape (B, N, 3, heads, d).
        causal: Whether a token attends only to itself and to those before it.

    Returns:
        Mixed values, shape (B, N, heads, d).
    """
    if causal and RUN < heads.shape[1] <= LONGEST and _in_runs(heads):
        mixed: Tensor = _CausalAttention.apply(heads)
        return mixed
    q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, d)
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2)


def _in_runs(heads: Tensor) -> bool:
    return heads.device.type == "cpu" and heads.dtype in (torch.float32, torch.float64)


class _CausalAttention(torch.autograd.Function):
    """Causal attention, run by run; the first run takes what is left over of the tokens."""

    @staticmethod
    def forward(ctx: Any, heads: Tensor) -> Tensor:
        batch, num, _, num_heads, dims = heads.shape
        q, k, v = heads.permute(2, 0, 3, 1, 4).reshape(3, batch * num_heads, num, dims).unbind(0)
        unseen = heads.new_full((RUN, RUN), -torch.inf).triu(1)
        mixed = torch.empty_like(v)
        kept = []
        for start, stop in _runs(num):
            size = stop - start
            logits = _product(q[:, start:stop], k[:, :stop].mT, scale=dims**-0.5)
            logits[:, :, start:].add_(unseen[:size, :size])
            probabilities = logits.softmax(dim=-1)
            mixed[:, start:stop] = torch.bmm(probabilities, v[:, :stop])
            kept.append(probabilities)
        ctx.save_for_backward(q, k, v, *kept)
        return mixed.view(batch, num_heads, num, dims).transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        q, k, v, *kept = ctx.saved_tensors
        batch, num, num_heads, dims = grad.shape
        scale = dims**-0.5
        grad = grad.transpose(1, 2).reshape(v.shape)  # (B heads, N, d), as q, k and v are
        result: Tensor = v.new_zeros(3, *v.shape)
        to_q, to_k, to_v = result.unbind(0)
        for (start, stop), probabilities in zip(_runs(num), kept, strict=True):
            own = grad[:, start:stop]
            # Of a softmax: p (g - sum p g), with g the gradient of its value.
            weighted = torch.bmm(own, v[:, :stop].mT).mul_(probabilities)
            of_logits = torch.addcmul(
                weighted, probabilities, weighted.sum(dim=-1, keepdim=True), value=-1
            )
            to_q[:, start:stop] = _product(of_logits, k[:, :stop], scale=scale)
            to_k[:, :stop].baddbmm_(of_logits.mT, q[:, start:stop], alpha=scale)
            to_v[:, :stop].baddbmm_(probabilities.mT, own)
        return result.view(3, batch, num_heads, num, dims).permute(1, 3, 0, 2, 4)


def _runs(num: int) -> list[tuple[int, int]]:
    """First query of each run, and the one after its last."""
    return list(pairwise([0, *range(num % RUN or RUN, num + 1, RUN)]))


def _product(a: Tensor, b: Tensor, *, scale: float) -> Tensor:
    """A batch of products, scaled as they are made."""
    product: Tensor = torch.baddbmm(a.new_empty(1, 1, 1), a, b, beta=0, alpha=scale)
    return product
