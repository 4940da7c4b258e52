"""Linear layers laid out once for many products with few rows, as decoding token by token needs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry, register_flop_formula


class PackedLinear:
    """A linear layer whose weights are laid out anew; nothing is differentiated.

    On a CPU a product of few rows with weights as `nn.Linear` keeps them spends most of its time in
    arranging them; oneDNN can arrange them beforehand, in float32. Elsewhere they are transposed.

    Args:
        linear: The layer, with a bias.
        num_rows: Rows of each product.
    """

    def __init__(self, linear: nn.Linear, num_rows: int) -> None:
        weight, self._bias = linear.weight.detach(), linear.bias.detach()
        self._packed = _can_pack(weight)
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, num_rows)
        else:
            self._weight = weight.t().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """Maps rows (R, in) to (R, out)."""
        if self._packed:
            product: Tensor = torch.ops.mkldnn._linear_pointwise(
                x, self._weight, self._bias, "none", [], ""
            )
            return product
        return torch.addmm(self._bias, x, self._weight)


def _can_pack(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return False
    backend = torch.backends.mkldnn
    if not (backend.is_available() and backend.enabled):  # type: ignore[no-untyped-call]
        return False
    # torch's own compiler calls these two; they are not in its documented interface.
    ops = torch.ops.mkldnn
    if not (hasattr(ops, "_reorder_linear_weight") and hasattr(ops, "_linear_pointwise")):
        return False
    if ops._linear_pointwise not in flop_registry:  # or the product would count as no work
        register_flop_formula(ops._linear_pointwise)(_count_product)
    return True


def _count_product(x: Any, weight: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    count: int = 2 * math.prod(out_shape) * x[-1]
    return count
