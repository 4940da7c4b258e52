"""Linear layers on a CPU with AVX-512: oneDNN's products in float32, up to twice as fast.

Transformers gain 1.3 to 1.5 times by it over whole training steps. torch's own compiler calls these
operators, but they are not in its documented interface, and nothing can look into them: where
anything traces, transforms or counts operations, or differentiates twice, `F.linear` takes over.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

WORTH_CALLING = 2**21  # multiply-adds of a product; for fewer, what a call costs weighs more
WORTH_PACKING = 2**17  # entries of a weight that is laid out anew; likewise


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Computes `F.linear`, large products on a CPU with oneDNN.

    Args:
        x: Rows, shape (..., in).
        weight: Shape (out, in).
        bias: Shape (out,); None adds nothing.

    Returns:
        Rows, shape (..., out).
    """
    if _is_usable(x, weight) and x.numel() * len(weight) >= WORTH_CALLING:
        # A function of ours: the operator has no derivative of its own.
        result: Tensor = _Linear.apply(x, weight, bias)
        return result
    return F.linear(x, weight, bias)


class PackedLinear:
    """A linear layer for many products with few rows, as decoding token by token needs.

    Such a product spends most of its time in arranging the weight; oneDNN can arrange a large one
    beforehand. Nothing is differentiated.

    Args:
        num_rows: Rows of each product.
    """

    def __init__(self, layer: nn.Linear, num_rows: int) -> None:
        self._weight, self._bias = layer.weight.detach(), layer.bias.detach()
        self._is_packed = self._weight.numel() >= WORTH_PACKING and _is_usable(
            self._weight, self._weight
        )
        if self._is_packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, num_rows)

    def __call__(self, x: Tensor) -> Tensor:
        """Maps rows (R, in) to (R, out)."""
        multiply = _product if self._is_packed else F.linear
        return multiply(x, self._weight, self._bias)


def _is_usable(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN may multiply here; the device is asked first, so that a GPU pays for no more.

    The type tells a tensor from the stand-ins that tracers pass for one.
    """
    return (
        type(x) is Tensor
        and x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and bool(torch.backends.mkldnn.enabled)
        and _has_operators()
        and not _is_watched()
    )


@cache
def _has_operators() -> bool:
    # Without AVX-512 oneDNN loses more of a transformer's products than it wins.
    return "AVX512" in torch.backends.cpu.get_cpu_capability() and all(
        hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
    )


def _is_watched() -> bool:
    """Whether someone looks into operations: each of these would fail at, or miss, a product."""
    return (
        torch._C._get_tracing_state() is not None
        or torch._C._len_torch_dispatch_stack() > 0  # make_fx, fake tensors, counters of operations
        or torch._C._functorch.peek_interpreter_stack() is not None  # vmap, grad and jvp
        or forward_ad._current_level >= 0
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` by oneDNN; the weight may be what ``_reorder_linear_weight`` made of it."""
    rows: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return rows


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # No more than autograd itself would keep for a product.
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        # Gradients are enabled here when a second derivative is wanted.
        multiply = F.linear if torch.is_grad_enabled() or _is_watched() else _product
        # The gradient of a sum has stride 0, with which oneDNN takes hundreds of times as long.
        rows = grad.reshape(-1, grad.shape[-1]).contiguous()
        inputs = x.reshape(-1, x.shape[-1])
        of_weight = None
        # The operator copies its first operand to get contiguous rows: better the smaller one.
        if needs_weight and rows.shape[-1] <= inputs.shape[-1]:
            of_weight = multiply(rows.t(), inputs.t())
        elif needs_weight:
            of_weight = multiply(inputs.t(), rows.t()).t()
        return (
            multiply(rows, weight.t()).view(x.shape) if needs_x else None,
            of_weight,
            rows.sum(0) if needs_bias else None,
        )
