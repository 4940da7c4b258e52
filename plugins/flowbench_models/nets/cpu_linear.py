"""Products with oneDNN on a CPU, in float32, where it is faster than the library behind `F.linear`.

Which is faster depends on the processor. With AVX-512 oneDNN wins all but small products, by up to
two times; with AVX2 alone it wins products with many rows by up to 1.5 times, and loses those that
sum over many rows, the gradients of weights, by two to three.

torch's own compiler calls these operators; they are not in its documented interface, so each use
asks `usable` first and has another way. Importing this module tells torch's counter of operations
about them, or their products would count as no work.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.flop_counter import flop_registry, register_flop_formula

WORTH_CALLING = 2**21  # multiply-adds of a product; for fewer, what a call costs weighs more

MANY_ROWS = 2**14  # from here on, without AVX-512

_HAS_OPERATORS = all(
    hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
)


def usable(weight: Tensor) -> bool:
    """Whether products with a weight can be left to oneDNN.

    Args:
        weight: The weight.

    Returns:
        True for float32 on a CPU whose torch has the operators.
    """
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return False
    backend = torch.backends.mkldnn
    if not (backend.is_available() and backend.enabled):  # type: ignore[no-untyped-call]
        return False
    return _HAS_OPERATORS


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiplies rows with the transpose of a weight that is `usable`; nothing is differentiated.

    Args:
        x: Rows, shape (..., in).
        weight: Shape (out, in), or what ``_reorder_linear_weight`` made of it.
        bias: Shape (out,); None adds nothing.

    Returns:
        Rows, shape (..., out).
    """
    rows: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return rows


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Computes `F.linear`, in training too: large products with oneDNN.

    Args:
        x: Rows, shape (..., in).
        weight: Shape (out, in).
        bias: Shape (out,); None adds nothing.

    Returns:
        Rows, shape (..., out).
    """
    small = not _is_worth_calling(math.prod(x.shape[:-1]), *weight.shape)
    if small or torch.is_autocast_enabled("cpu") or x.dtype != torch.float32 or not usable(weight):
        return F.linear(x, weight, bias)
    result: Tensor = _Linear.apply(x, weight, bias)
    return result


@cache
def has_avx512() -> bool:
    """Whether torch uses AVX-512 on this processor."""
    return "AVX512" in torch.backends.cpu.get_cpu_capability()


def _is_worth_calling(num_rows: int, num_outputs: int, num_inputs: int) -> bool:
    if has_avx512():
        return num_rows * num_outputs * num_inputs >= WORTH_CALLING
    return num_rows >= MANY_ROWS


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])
        return (
            product(rows, weight.t(), None).view(x.shape) if needs_x else None,
            _of_weight(rows, x.reshape(-1, x.shape[-1])) if needs_weight else None,
            rows.sum(0) if needs_bias else None,
        )


def _of_weight(grad: Tensor, x: Tensor) -> Tensor:
    """The product of a transposed gradient (M, out) with rows (M, in), shape (out, in)."""
    if not has_avx512():
        return grad.t() @ x
    # The operator copies its first operand to get contiguous rows: that had better be the smaller.
    if grad.shape[-1] <= x.shape[-1]:
        return product(grad.t(), x.t(), None)
    return product(x.t(), grad.t(), None).t()


def _count_product(x: Any, weight: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    count: int = 2 * math.prod(out_shape) * x[-1]
    return count


if _HAS_OPERATORS and torch.ops.mkldnn._linear_pointwise not in flop_registry:
    register_flop_formula(torch.ops.mkldnn._linear_pointwise)(_count_product)

WORTH_PACKING = 2**17  # entries of a weight; for fewer, what a call of oneDNN costs weighs more


class PackedLinear:
    """A linear layer whose weights are laid out anew; nothing is differentiated.

    On a CPU a product of few rows with weights as `nn.Linear` keeps them spends most of its time in
    arranging them; oneDNN can arrange them beforehand, in float32. Elsewhere, and where a layer is
    small, they are transposed.

    Args:
        linear: The layer, with a bias.
        num_rows: Rows of each product.
    """

    def __init__(self, linear: nn.Linear, num_rows: int) -> None:
        weight, self._bias = linear.weight.detach(), linear.bias.detach()
        self._packed = weight.numel() >= WORTH_PACKING and usable(weight)
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, num_rows)
        else:
            self._weight = weight.t().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """Maps rows (R, in) to (R, out)."""
        if self._packed:
            return product(x, self._weight, self._bias)
        return torch.addmm(self._bias, x, self._weight)
