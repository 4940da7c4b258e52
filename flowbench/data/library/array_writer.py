"""Writes ``.npy`` files whose length is known only at their end, and takes rows out of them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.format import magic
from numpy.typing import NDArray

HEADER_BYTES = 128  # of every file written here, so that its length can be put in afterwards
CHUNK_BYTES = 1 << 24


class ArrayWriter:
    """Appends examples to one array."""

    def __init__(self, path: Path, dtype: np.dtype[Any], event_shape: tuple[int, ...]) -> None:
        self._file: IO[bytes] = path.open("wb")
        self._file.write(bytes(HEADER_BYTES))
        self.dtype = dtype.newbyteorder("<")
        self.event_shape = event_shape
        self.count = 0

    def append(self, values: NDArray[Any]) -> None:
        """Adds examples, shape (N, *event_shape)."""
        self._file.write(np.ascontiguousarray(values, dtype=self.dtype).data)
        self.count += len(values)

    def close(self) -> None:
        """Puts the header in; before that the file is not an array."""
        self._file.seek(0)
        self._file.write(_header(self.dtype, (self.count, *self.event_shape)))
        self._file.close()


def split_rows(path: Path, keep: NDArray[np.bool_], moved: NDArray[np.int64], to: Path) -> None:
    """Shrinks an array in place to some of its rows, and writes others of them to a new file.

    In place, because a second copy of ImageNet may not fit.

    Args:
        path: A file that `ArrayWriter` wrote.
        keep: Which rows stay, shape (N,); they keep their order.
        moved: Rows for the other file, shape (M,).
        to: The other file; not written if there are no such rows.
    """
    rows = np.load(path, mmap_mode="r+")
    if len(moved):
        writer = ArrayWriter(to, rows.dtype, rows.shape[1:])
        writer.append(rows[moved])
        writer.close()
    step = max(1, CHUNK_BYTES // max(1, rows[:1].nbytes))
    kept = 0
    for start in range(0, len(rows), step):
        stay = rows[start : start + step][keep[start : start + step]]  # a copy
        rows[kept : kept + len(stay)] = stay
        kept += len(stay)
    row_bytes, dtype, shape = rows[:1].nbytes, rows.dtype, rows.shape[1:]
    rows.flush()
    del rows
    with path.open("r+b") as file:
        file.write(_header(dtype, (kept, *shape)))
        file.truncate(HEADER_BYTES + kept * row_bytes)


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Header of NumPy's format 1.0, padded to a fixed length."""
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    prefix = magic(1, 0)
    room = HEADER_BYTES - len(prefix) - 2
    return prefix + struct.pack("<H", room) + text.ljust(room - 1).encode("ascii") + b"\n"
