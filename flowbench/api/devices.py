"""What a model says of a batch that several devices share."""

from __future__ import annotations

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary


def mean_over_devices(own: Tensor) -> Tensor:
    """Mean of what each device has of its equal part of a batch; on one device, what it has.

    For layers that take statistics of a training batch: with it they are those of the whole batch,
    with gradients, on however many devices a job runs. Batch norms of `torch.nn` need nothing.

    Args:
        own: Means over this device's part of the batch, of the same shape on each.

    Returns:
        Means over the whole batch, of the same shape.

    Example:
        >>> import torch
        >>> mean_over_devices(torch.tensor([[1.0], [3.0]]).mean(dim=0))
        tensor([2.])
    """
    # Whoever trains on several devices takes the call, by the protocol that torch has for it.
    if has_torch_function_unary(own):
        shared: Tensor = handle_torch_function(mean_over_devices, (own,), own)
        return shared
    return own
