"""Linear layers laid out once for many products with few rows, as decoding token by token needs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowbench_models.nets import onednn

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
        self._packed = weight.numel() >= WORTH_PACKING and onednn.usable(weight)
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, num_rows)
        else:
            self._weight = weight.t().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """Maps rows (R, in) to (R, out)."""
        if self._packed:
            return onednn.product(x, self._weight, self._bias)
        return torch.addmm(self._bias, x, self._weight)
