"""Writes ``.npy`` files whose length is known only at their end, and takes rows out of them."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

CHUNK_BYTES = 1 << 24  # 16 MiB moved at a time


class ArrayWriter:
    """Appends examples to one array."""

    def __init__(self, path: Path, dtype: np.dtype[Any], event_shape: tuple[int, ...]) -> None:
        self._file: IO[bytes] = path.open("wb")
        # One byte order on every machine: the content hash is over little-endian values, too.
        self.dtype = dtype.newbyteorder("<")
        self.event_shape = event_shape
        self.count = 0
        _write_header(self._file, self.dtype, (0, *event_shape))

    def append(self, values: NDArray[Any]) -> None:
        """Adds examples, shape (N, *event_shape)."""
        self._file.write(np.ascontiguousarray(values, dtype=self.dtype).data)
        self.count += len(values)

    def close(self) -> None:
        """Puts the number of examples into the header; before that the file is an empty array."""
        _write_header(self._file, self.dtype, (self.count, *self.event_shape))
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
    # Mapped for writing: what is moved up overwrites the very rows that are read.
    rows = np.load(path, mmap_mode="r+")
    if len(moved):
        # Before any row moves up, or the rows that it wants would be gone.
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
    # The mapping goes before the file is cut: to touch a page behind its new end would be a bus
    # error.
    del rows
    with path.open("r+b") as file:
        _write_header(file, dtype, (kept, *shape))
        file.truncate(file.tell() + kept * row_bytes)


def _write_header(file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """NumPy leaves room for a longer first axis, so the header keeps its length as that grows."""
    file.seek(0)
    write_array_header_1_0(file, {"descr": dtype.str, "fortran_order": False, "shape": shape})
