r"""Softmax attention among tokens, :math:`\mathrm{softmax}(q k^\top / \sqrt{d})\, v`.

torch's kernel for CPUs computes the masked products of causal attention too. Taken in runs of a few
queries, each with the keys up to its own last, nearly half of all products is left out. The two
operators below are those that `F.scaled_dot_product_attention` calls on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

RUN = 32  # queries at a time, as many as torch's kernel takes of a sequence this short


def attend(heads: Tensor, *, causal: bool) -> Tensor:
    """Mixes the values of tokens.

    Args:
        heads: Queries, keys and values, shape (B, N, 3, heads, d).
        causal: Whether a token attends only to itself and to those before it.

    Returns:
        Mixed values, shape (B, N, heads, d).
    """
    if causal and heads.shape[1] > RUN and _takes_runs(heads):
        mixed: Tensor = _CausalAttention.apply(heads)
        return mixed
    q, k, v = _parts(heads)
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2)


def _takes_runs(heads: Tensor) -> bool:
    on_cpu = heads.device.type == "cpu" and heads.dtype in (torch.float32, torch.float64)
    return on_cpu and hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu")


def _parts(heads: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values, each of shape (B, heads, N, d)."""
    return heads.permute(2, 0, 3, 1, 4).unbind(0)


class _CausalAttention(torch.autograd.Function):
    """Causal attention, run by run; the first run takes what is left over of the tokens."""

    @staticmethod
    def forward(ctx: Any, heads: Tensor) -> Tensor:
        q, k, v = _parts(heads)
        outputs, sums = [], []
        for start, stop, mask in _runs(heads):
            output, log_sum = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q[:, :, start:stop],
                k[:, :, :stop],
                v[:, :, :stop],
                is_causal=mask is None,
                attn_mask=mask,
            )
            outputs.append(output)
            sums.append(log_sum)
        ctx.save_for_backward(heads, *outputs, *sums)
        return torch.cat([output.transpose(1, 2) for output in outputs], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        heads, *saved = ctx.saved_tensors
        outputs, sums = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        q, k, v = _parts(heads)
        result = torch.zeros_like(heads)
        to_q, to_k, to_v = _parts(result)
        for (start, stop, mask), output, log_sum in zip(_runs(heads), outputs, sums, strict=True):
            of_q, of_k, of_v = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad.transpose(1, 2)[:, :, start:stop],
                q[:, :, start:stop],
                k[:, :, :stop],
                v[:, :, :stop],
                output,
                log_sum,
                0.0,
                mask is None,
                attn_mask=mask,
            )
            to_q[:, :, start:stop] = of_q
            to_k[:, :, :stop] += of_k
            to_v[:, :, :stop] += of_v
        return result


def _runs(heads: Tensor) -> list[tuple[int, int, Tensor | None]]:
    """First query of each run, the one after its last, and what is added to its logits."""
    num = heads.shape[1]
    mask = heads.new_zeros(RUN, num)
    mask[:, num - RUN :] = heads.new_full((RUN, RUN), -torch.inf).triu(1)
    first = num % RUN or RUN
    later = range(first, num, RUN)
    return [
        (0, first, None),
        *((start, start + RUN, mask[:, num - start - RUN :]) for start in later),
    ]
