"""Copies rows of an array, usually a memory map, into a tensor."""

from __future__ import annotations

import math
import mmap
import os
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


class ScatteredRows:
    """Rows of an array that are read in no order; of a memory map on disk no more than them.

    A system reads ahead of what is touched: of a map whose rows are scattered, twenty times what is
    used. Here the rows of a batch are asked for all at once, before the first is waited for, and
    nothing else is read but the rest of their pages. Once as many were asked for as there are, an
    array that memory can keep is taken to be there.

    Args:
        values: The array, shape (N, ...). A whole file's map is mapped once more, so that others
            who read it in order go on as before.
    """

    def __init__(self, values: NDArray[Any]) -> None:
        self.values, self._map = values, None
        self._num_left: float = len(values) if values.nbytes < _memory_bytes() / 2 else math.inf
        if (
            isinstance(values, np.memmap)
            # A part of a map names the file of the whole, but lies elsewhere in it.
            and isinstance(values.base, mmap.mmap)
            and values.flags.c_contiguous
            and values.filename is not None
            and hasattr(mmap, "MADV_RANDOM")
        ):
            own: np.memmap[Any, Any] = np.memmap(
                values.filename, values.dtype, "r", values.offset, values.shape
            )
            self.values, self._map = own, own.base
            # Where NumPy's map begins: at the last boundary before the array.
            self._start = values.offset % mmap.ALLOCATIONGRANULARITY
            self._map.madvise(mmap.MADV_RANDOM)

    def ask_for(self, rows: NDArray[np.int64]) -> None:
        """Has rows read from disk, without waiting for them."""
        if self._map is None or self._num_left <= 0:
            return
        self._num_left -= len(rows)
        size = self.values[:1].nbytes
        for first in (self._start + size * rows).tolist():
            page = first - first % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, page, first + size - page)


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


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
