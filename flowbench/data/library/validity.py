"""Whether a split is what its dataset's spec says: counts, shapes, types and ranges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api.data import Split
from flowbench.api.manifolds import manifold_of
from flowbench.api.specs import DatasetSpec, SplitName
from flowbench.errors import DataError

CHUNK = 8192  # examples read at a time


def check_split(spec: DatasetSpec, name: SplitName, split: Split, *, num_lost: int = 0) -> None:
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
    if split.x.shape[1:] != tuple(spec.event_shape):
        raise DataError(
            f"{where}: examples of shape {split.x.shape[1:]}, expected {tuple(spec.event_shape)}"
        )
    if spec.levels is None:
        _check_floats(where, split.x)
        _check_manifold(spec, where, split.x)
    else:
        _check_integers(f"{where}: values", split.x, spec.levels)
    _check_context(spec, where, split)


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


def _check_context(spec: DatasetSpec, where: str, split: Split) -> None:
    if set(split.context) != set(spec.context):
        raise DataError(
            f"{where}: context {sorted(split.context)}, expected {sorted(spec.context)}"
        )
    for key, given in spec.context.items():
        expected = (len(split), *given.shape)
        if split.context[key].shape != expected:
            raise DataError(
                f"{where}: context {key!r} of shape {split.context[key].shape}, expected {expected}"
            )
        if given.num_classes is not None:
            _check_integers(f"{where}: context {key!r}", split.context[key], given.num_classes)


def _chunks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (array[start : start + CHUNK] for start in range(0, len(array), CHUNK))
