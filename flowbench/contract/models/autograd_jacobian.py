"""log |det| of a map's Jacobian, by automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def log_abs_det(function: Callable[[Tensor], Tensor], point: Tensor) -> float:
    """Logarithm of |det| of the Jacobian at one point, in one backward pass.

    The point is repeated n times; row i of the gradient of output i of copy i is row i of the
    Jacobian. The copies are equal, so a model that mixes rows shows here no more than elsewhere.

    Args:
        function: Maps rows (B, n) to rows (B, n), each by itself.
        point: The point, shape (n,).

    Returns:
        log |det|, in nats.
    """
    rows = point.expand(len(point), -1).clone().requires_grad_()
    with torch.enable_grad():
        outputs = function(rows).diagonal().sum()
        (jacobian,) = torch.autograd.grad(outputs, rows)
    return float(torch.linalg.slogdet(jacobian).logabsdet)
