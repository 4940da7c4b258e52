"""Where networks run in lower precision, some parts must not."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Leaves autocast, where it is on.

    Args:
        x: Tells the device.

    Returns:
        A context in which operations keep the precision of their arguments.
    """
    device_type = x.device.type
    if not torch.is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, enabled=False)
