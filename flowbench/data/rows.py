"""Copies rows of an array, usually a memory map, into a tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def take_rows(values: NDArray[Any], rows: NDArray[np.int64], pin: bool = False) -> Tensor:
    """Copies rows into a tensor, in one pass.

    Args:
        values: The array, shape (N, ...).
        rows: Which rows, shape (B,); all must be valid.
        pin: Put them into page-locked memory.

    Returns:
        The rows, shape (B, ...).
    """
    out = np.empty((len(rows), *values.shape[1:]), dtype=tensor_dtype(values.dtype))
    batch = torch.from_numpy(out)
    if pin:
        # Allocated by torch, which keeps page-locked memory for the next batch; to lock it costs
        # more than to copy.
        batch = torch.empty_like(batch, pin_memory=True)
        out = batch.numpy()
    if values.dtype == out.dtype:
        # "clip" skips the buffer that NumPy needs to leave `out` whole when a row is out of range.
        np.take(values, rows, axis=0, out=out, mode="clip")
    else:
        # Two passes, but types that torch lacks are rare: 16-bit images and foreign byte orders.
        out[...] = values[rows]
    return batch


def tensor_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that values have once they are in a tensor.

    Returns:
        The same, natively ordered; unsigned integers that torch lacks operations for become int32
        or int64.
    """
    native = dtype.newbyteorder("=")
    if native.kind == "u" and native != np.uint8:
        return np.dtype(np.int32 if native.itemsize == 2 else np.int64)
    return native
