"""Places labels beside points so that none covers another: in a fixed order, without chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.transforms import Bbox

_HEIGHT = 11.0
_CHAR = 5.7  # mean width of a character of 11 px sans
_GAP = 7.0
_REACH = 5.0  # half the side of what a mark covers


class Offset(NamedTuple):
    """Where a label stands relative to its point.

    Attributes:
        dx: Pixels to the right.
        dy: Pixels up, to the label's bottom.
        align: Which end of the label is there.
    """

    dx: float
    dy: float
    align: Literal["left", "center", "right"]


# The most welcome first.
_OFFSETS = (
    Offset(_GAP, -4, "left"), Offset(-_GAP, -4, "right"),
    Offset(5, 5, "left"), Offset(5, -15, "left"), Offset(-5, 5, "right"), Offset(-5, -15, "right"),
    Offset(0, _GAP, "center"), Offset(0, -18, "center"),
    Offset(16, 12, "left"), Offset(16, -22, "left"),
)  # fmt: skip


class Layout:
    """What of a plot is taken."""

    def __init__(self, room: Bbox) -> None:
        """Labels stay within ``room``, in pixels."""
        self._room = room
        self._taken: list[Bbox] = []

    def block(self, points: Iterable[tuple[float, float]]) -> None:
        """Keeps labels off the marks around points."""
        self._taken += [Bbox([(x, y), (x, y)]).padded(_REACH) for x, y in points]

    def place(self, x: float, y: float, label: str) -> Offset | None:
        """Finds room for the label of a point, and takes it; None if there is none."""
        # The first that fits: the same board gives the same picture.
        for offset in _OFFSETS:
            box = extent(x, y, label, offset)
            inside = all(self._room.contains(*corner) for corner in (box.min, box.max))
            if inside and not box.count_overlaps(self._taken):
                self._taken.append(box)
                return offset
        return None


def extent(x: float, y: float, label: str, offset: Offset) -> Bbox:
    """The box that the label of a point covers."""
    width = text_width(label)
    left = x + offset.dx - {"left": 0.0, "center": width / 2, "right": width}[offset.align]
    return Bbox.from_bounds(left, y + offset.dy, width, _HEIGHT)


def text_width(label: str) -> float:
    """About how many pixels wide a text is at 11 px."""
    return _CHAR * len(label)


def spread(positions: Sequence[float], gap: float, highest: float) -> list[float]:
    """Moves positions up until they are a gap apart, and down again where they would leave.

    Args:
        positions: In ascending order.
        gap: Least distance.
        highest: Where the last may be at most.
    """
    steps = gap * np.arange(len(positions))
    up = np.maximum.accumulate(np.asarray(positions) - steps) + steps
    return list(map(float, np.minimum(up, highest - steps[::-1])))
