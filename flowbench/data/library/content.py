"""Hashes of what data contain: of a whole dataset, and of each example."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api.data import DataSplits, Ragged, Split

CHUNK_BYTES = 1 << 24  # 16 MiB: memory-mapped data are read in pieces of this size
FORMAT = "flowbench-content-1"  # named in the hash, so that another serialisation gives another one


def content_hash(splits: DataSplits) -> str:
    """SHA-256 over a canonical serialisation of all splits.

    Serialised are, for train, validation (if there is one) and test in this order, the arrays of
    `plain_arrays`: a line of JSON with split, name, dtype and shape, and the values in C order,
    little-endian.

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


def plain_arrays(split: Split[Any]) -> dict[str, NDArray[Any]]:
    """The arrays that a split is made of: ``x``, then the context by name.

    `Ragged` values are two: those of all examples, shape (T_1 + ... + T_N, C), so that they can be
    appended to, and under ``<name>.lengths`` their lengths.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, values in [("x", split.x), *sorted(split.context.items())]:
        if isinstance(values, Ragged):
            arrays[name], arrays[lengths_of(name)] = values.values.T, values.lengths
        else:
            arrays[name] = values
    return arrays


def split_of(arrays: Mapping[str, NDArray[Any]]) -> Split[Any]:
    """The split of `plain_arrays`."""
    values = {
        name: Ragged(values=array.T, lengths=arrays[lengths_of(name)])
        if lengths_of(name) in arrays
        else array
        for name, array in arrays.items()
        if not name.endswith(lengths_of(""))
    }
    return Split(x=values.pop("x"), context=values)


def lengths_of(name: str) -> str:
    """Under which name the lengths of an array's examples are kept."""
    return f"{name}.lengths"


def example_hashes(x: NDArray[Any] | Ragged) -> NDArray[np.uint64]:
    """A 64-bit hash of each example's bytes.

    Two different examples among a million agree with a probability below 1e-7.

    Args:
        x: Examples, shape (N, *event_shape).

    Returns:
        Hashes, shape (N,).
    """
    hashes = np.empty(len(x), dtype=np.uint64)
    if isinstance(x, Ragged):
        for index in range(len(x)):
            hashes[index] = _hashes(np.ascontiguousarray(x.example(index))[None])[0]
        return hashes
    position = 0
    for chunk in _chunks(x):
        hashes[position : position + len(chunk)] = _hashes(chunk)
        position += len(chunk)
    return hashes


def _hashes(chunk: NDArray[Any]) -> NDArray[np.uint64]:
    # Not `hash(bytes)`, which differs from process to process: validation is chosen by these.
    flat = chunk.astype(_little_endian(chunk.dtype), copy=False).reshape(len(chunk), -1)
    rows = [hashlib.blake2b(row.data, digest_size=8).digest() for row in flat]
    return np.frombuffer(b"".join(rows), dtype="<u8")


def _add_split(digest: hashlib._Hash, name: str, split: Split[Any]) -> None:
    for array_name, array in plain_arrays(split).items():
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
