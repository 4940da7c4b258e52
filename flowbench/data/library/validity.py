"""Whether a split is what its dataset's spec says: counts, shapes, types and ranges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api.data import Ragged, Split
from flowbench.api.manifolds import manifold_of
from flowbench.api.specs import DatasetSpec, SplitName
from flowbench.data.library.content import plain_arrays
from flowbench.errors import DataError

CHUNK = 8192  # examples read at a time


def check_split(
    spec: DatasetSpec, name: SplitName, split: Split[Any], *, num_lost: int = 0
) -> None:
    """Refuses a split that is not what the spec says.

    Args:
        spec: What the dataset must be.
        split: What the loader gave.
        num_lost: How many of its examples could not be read, and are named.

    Raises:
        DataError: The first thing that differs.
    """
    where = f"dataset {spec.name!r}, {name} split"
    if spec.counts[name] not in (None, len(split) + num_lost):
        raise DataError(f"{where}: {len(split)} examples, expected {spec.counts[name]}")
    _check_shape(spec, where, split)
    values = plain_arrays(split)["x"]
    if spec.levels is None:
        _check_floats(where, values)
        _check_manifold(spec, where, values)
    else:
        _check_integers(f"{where}: values", values, spec.levels)
    _check_context(spec, where, split)


def _check_shape(spec: DatasetSpec, where: str, split: Split[Any]) -> None:
    event_shape = tuple(spec.event_shape)
    if isinstance(split.x, Ragged) != spec.ragged:
        given = "different lengths" if isinstance(split.x, Ragged) else "one length"
        raise DataError(
            f"{where}: examples of {given}, the spec says ragged = {spec.ragged}; make the two "
            "agree"
        )
    if isinstance(split.x, Ragged):
        if (len(split.x.values),) != event_shape[:-1]:
            raise DataError(
                f"{where}: examples of {len(split.x.values)} channels, expected {event_shape[0]}"
            )
    elif split.x.shape[1:] != event_shape:
        raise DataError(f"{where}: examples of shape {split.x.shape[1:]}, expected {event_shape}")


def _check_floats(where: str, x: NDArray[Any]) -> None:
    if x.dtype not in (np.float32, np.float64):
        raise DataError(
            f"{where}: values of type {x.dtype}, expected float32 or float64 (levels is None)"
        )
    # Chunk by chunk: a whole mask of a memory-mapped set would not fit into memory.
    if not all(np.isfinite(chunk).all() for chunk in _chunks(x)):
        raise DataError(f"{where}: values that are not finite, expected finite numbers")


def _check_manifold(spec: DatasetSpec, where: str, x: NDArray[Any]) -> None:
    if spec.manifold is None:
        return
    manifold = manifold_of(spec.manifold)
    off = sum(int((~manifold.contains(chunk)).sum()) for chunk in _chunks(x))
    if off:
        raise DataError(f"{where}: {off} of {len(x)} examples do not lie on the {manifold.name}")


def _check_integers(what: str, values: NDArray[Any], limit: int) -> None:
    if values.dtype.kind not in "iu":
        raise DataError(f"{what} of type {values.dtype}, expected integers 0..{limit - 1}")
    # An empty split has no smallest value; whether it may be empty is said by its count.
    if not len(values):
        return
    low = min(int(chunk.min()) for chunk in _chunks(values))
    high = max(int(chunk.max()) for chunk in _chunks(values))
    if low < 0 or high >= limit:
        raise DataError(f"{what} in {low}..{high}, expected integers 0..{limit - 1}")


def _check_context(spec: DatasetSpec, where: str, split: Split[Any]) -> None:
    if set(split.context) != set(spec.context):
        raise DataError(
            f"{where}: context {sorted(split.context)}, expected {sorted(spec.context)}"
        )
    for key, given in spec.context.items():
        if spec.ragged and given.stride is not None:
            _check_along(where, key, split, given.shape[0], given.stride)
            continue
        expected = (len(split), *given.shape)
        if split.context[key].shape != expected:
            raise DataError(
                f"{where}: context {key!r} of shape {split.context[key].shape}, expected {expected}"
            )
        if given.num_classes is not None:
            _check_integers(f"{where}: context {key!r}", split.context[key], given.num_classes)


def _check_along(where: str, key: str, split: Split[Any], channels: int, stride: int) -> None:
    """Holds context that goes along with examples to their lengths.

    Raises:
        DataError: It does not.
    """
    values = split.context[key]
    if not isinstance(values, Ragged) or len(values.values) != channels:
        raise DataError(f"{where}: context {key!r} is not Ragged values of {channels} channels")
    expected = -(-split.x.lengths // stride)
    if len(values) != len(split) or (values.lengths != expected).any():
        raise DataError(
            f"{where}: context {key!r} does not go along with the examples; one of T values needs "
            f"T / {stride} of it, rounded up"
        )


def _chunks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (array[start : start + CHUNK] for start in range(0, len(array), CHUNK))
