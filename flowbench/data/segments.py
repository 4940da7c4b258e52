"""Segments of examples of different lengths, and of the context that goes with them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api.data import DataSplits, Ragged, Split
from flowbench.api.specs import DatasetInfo
from flowbench.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Segments:
    """How segments are cut out of examples.

    Attributes:
        length: Raw values along the last axis.
        strides: Of the context inputs that go along it, by name. A segment begins where a value of
            each of them does, and has as many of them as it needs.
    """

    length: int
    strides: Mapping[str, int]

    @property
    def grid(self) -> int:
        """Distance of two places where a segment may begin."""
        return math.lcm(*self.strides.values())

    def num_starts(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """In how many places a segment may begin, for examples of these lengths; 0 if too short."""
        found: NDArray[np.int64] = np.maximum(lengths - self.length + self.grid, 0) // self.grid
        return found

    def along(self, name: str | None) -> tuple[int, int]:
        """How far apart values of an input are, and how many of them a segment has.

        Args:
            name: The input; None for the examples themselves.
        """
        stride = 1 if name is None else self.strides[name]
        return stride, -(-self.length // stride)

    def cut(self, split: Split[Any], rows: NDArray[np.int64], starts: NDArray[np.int64]) -> Split:
        """Segments of some examples, with their context.

        Args:
            split: Its examples are `Ragged`.
            rows: Which examples, shape (B,).
            starts: Where each segment begins, shape (B,), on the grid.

        Returns:
            Arrays of shape (B, C, length), and of the context.
        """
        context = {
            name: _cut(values, rows, starts, *self.along(name))
            if name in self.strides
            else values[rows]
            for name, values in split.context.items()
        }
        return Split(x=_cut(split.x, rows, starts, *self.along(None)), context=context)


def first_segments(splits: DataSplits, segments: Segments | None) -> DataSplits:
    """What metrics see of examples: of those of different lengths the first segment of each.

    Args:
        segments: How they are cut; None leaves them as they are.

    Returns:
        Splits of arrays; examples that are too short are left out.
    """
    if segments is None:
        return splits

    def cut(split: Split[Any]) -> Split:
        rows = np.flatnonzero(segments.num_starts(split.x.lengths))
        return segments.cut(split, rows, np.zeros_like(rows))

    validation = None if splits.validation is None else cut(splits.validation)
    return replace(splits, train=cut(splits.train), test=cut(splits.test), validation=validation)


def _cut(
    values: Ragged, rows: NDArray[np.int64], starts: NDArray[np.int64], stride: int, num: int
) -> NDArray[Any]:
    if not len(rows):
        return np.empty((0, len(values.values), num), dtype=values.dtype)
    pairs = zip(rows.tolist(), (starts // stride).tolist(), strict=True)
    return np.stack([values.example(row, start, num) for row, start in pairs])


def segments_of(info: DatasetInfo, window: int | None) -> Segments | None:
    """The segments that a model of a dataset trains on and draws.

    Args:
        info: Facts of the dataset.
        window: Their length, as ``training.window`` gives it; None for the dataset's own.

    Returns:
        None where examples are of one length, and used whole.

    Raises:
        ConfigError: There is a window, and nothing to cut.
    """
    if not info.ragged:
        if window is not None:
            raise ConfigError(
                f"training.window is {window}, but the examples of {info.name!r} have one length "
                "and are used whole; leave it out"
            )
        return None
    strides = {name: given.stride for name, given in info.context.items() if given.stride}
    return Segments(length=window or info.event_shape[-1], strides=strides)
