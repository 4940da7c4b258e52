"""Hashes of what data contain: of a whole dataset, and of each example."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api.data import DataSplits, Split

CHUNK_BYTES = 1 << 24  # 16 MiB: memory-mapped data are read in pieces of this size
FORMAT = "flowbench-content-1"  # named in the hash, so that another serialisation gives another one


def content_hash(splits: DataSplits) -> str:
    """SHA-256 over a canonical serialisation of all splits.

    Serialised are, for train, validation (if there is one) and test in this order, the array ``x``
    and then the context arrays by name: a line of JSON with split, name, dtype and shape, and the
    values in C order, little-endian.

    Args:
        splits: The splits, as the loader gave them.

    Returns:
        64 hexadecimal digits.
    """
    # The splits in a fixed order and the context by name: the hash is of what the data are, not of
    # how a loader happened to list them.
    digest = hashlib.sha256(FORMAT.encode())
    for name, split in splits.named().items():
        _add_split(digest, name, split)
    return digest.hexdigest()


def example_hashes(x: NDArray[Any]) -> NDArray[np.uint64]:
    """A 64-bit hash of each example's bytes.

    Two different examples among a million agree with a probability below 1e-7.

    Args:
        x: Examples, shape (N, *event_shape).

    Returns:
        Hashes, shape (N,).
    """
    hashes = np.empty(len(x), dtype=np.uint64)
    position = 0
    for chunk in _chunks(x):
        flat = chunk.reshape(len(chunk), -1)
        # Not `hash(bytes)`, which differs from process to process: validation is chosen by these.
        rows = [hashlib.blake2b(row.data, digest_size=8).digest() for row in flat]
        hashes[position : position + len(rows)] = np.frombuffer(b"".join(rows), dtype="<u8")
        position += len(rows)
    return hashes


def _add_split(digest: hashlib._Hash, name: str, split: Split) -> None:
    arrays = [("x", split.x), *sorted(split.context.items())]
    for array_name, array in arrays:
        # With dtype and shape, so that the same bytes read otherwise are other data.
        header = [name, array_name, _little_endian(array.dtype).str, list(array.shape)]
        digest.update(f"\n{json.dumps(header)}\n".encode())
        for chunk in _chunks(array):
            digest.update(chunk.data)


def _chunks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Consecutive examples, C-contiguous and little-endian, about `CHUNK_BYTES` at a time."""
    # An empty split, or examples of no values, must not divide by zero.
    example_bytes = max(1, array.nbytes // max(1, len(array)))
    step = max(1, CHUNK_BYTES // example_bytes)
    for start in range(0, len(array), step):
        yield np.ascontiguousarray(array[start : start + step], dtype=_little_endian(array.dtype))


def _little_endian(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<")
