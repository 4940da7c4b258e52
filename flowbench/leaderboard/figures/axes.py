"""Axes without a box: hairline grid, horizontal titles, plain numbers on a log scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from flowbench.api.specs import Scale
from flowbench.leaderboard.figures.labels import text_width
from flowbench.leaderboard.figures.svg import MUTED, RULE, TEXT_PX, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEFT, RIGHT, BOTTOM = 38, 8, 32  # margins of a plot, in pixels

_MAX_TICKS = 6
_BETWEEN = 6.0  # pixels between two numbers of an axis
_LARGE = ((1e9, " G"), (1e6, " M"))
_MAX_STRETCH = 4.0  # how much taller a plot may become for a curve that ends high
# Steps within a decade; the finest that have room, so that a narrow axis has several numbers too.
_STEPS = ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))


def new_axes(
    height: int, *, left: int = LEFT, right: int = RIGHT, top: int = 8, bottom: int = BOTTOM
) -> tuple[Figure, Axes]:
    """An empty plot as wide as the page's rail; its height and margins are in pixels."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    box = (left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, 1 - (top + bottom) / height)
    axes = figure.add_axes(box)
    axes.patch.set_visible(False)
    axes.grid(visible=True, color=RULE, linewidth=1.0)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, labelcolor=MUTED, labelsize=TEXT_PX, pad=4)
    return figure, axes


def write(
    axes: Axes, words: str, at: tuple[float, float], offset: tuple[float, float], **look: Any
) -> None:
    """Writes so many pixels from a place; by default muted, to its right, in data's coordinates."""
    usual = {"ha": "left", "va": "baseline", "color": MUTED, "fontsize": TEXT_PX}
    placed = {"textcoords": "offset points", "annotation_clip": False}
    axes.annotate(words, at, xytext=offset, **{**usual, **placed, **look})


def title_x(axes: Axes, name: str) -> None:
    """Names the horizontal axis at its right end."""
    write(axes, name, (1.0, 0.0), (0, -30), xycoords="axes fraction", ha="right", va="bottom")


def title_y(axes: Axes, name: str) -> None:
    """Names the vertical axis above it, from the figure's left edge."""
    write(axes, name, (0.0, 1.0), (0, -11), xycoords="figure fraction", va="bottom")


def set_scale(axes: Axes, which: Literal["x", "y"], scale: Scale, values: Sequence[float]) -> None:
    """Fits an axis around values, with plain labels.

    Args:
        axes: The axes.
        which: The axis.
        scale: How it shows values; on ``log`` all are greater than 0.
        values: All positions.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    if scale == "linear":
        axes.set(**{f"{which}lim": padded(values)})
        axis.set_major_locator(MaxNLocator(_MAX_TICKS, steps=[1, 2, 5, 10]))
        return
    low, high = math.log10(min(values)), math.log10(max(values))
    pad = max(0.08 * (high - low), 0.15)
    limits = (10 ** (low - pad), 10 ** (high + pad))
    axes.set(**{f"{which}scale": "log", f"{which}lim": limits})
    box = axes.get_window_extent()
    room = box.width if which == "x" else box.height
    axis.set_major_locator(FixedLocator(_log_ticks(*limits, room=room)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: plain(x)))


def _log_ticks(low: float, high: float, room: float) -> list[float]:
    """Round numbers between two limits, as many as have room, which is in pixels."""
    scale = room / math.log10(high / low)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in _STEPS:
        ticks = [s * 10.0**d for d in decades for s in steps if low <= s * 10.0**d <= high]
        if len(ticks) <= _MAX_TICKS and _have_room(ticks, scale):
            return ticks
    return ticks[:: math.ceil(len(ticks) / _MAX_TICKS)]


def _have_room(ticks: Sequence[float], scale: float) -> bool:
    """Whether the numbers of an axis stand apart, at so many pixels a decade."""
    return all(
        scale * math.log10(b / a) > (text_width(plain(a)) + text_width(plain(b))) / 2 + _BETWEEN
        for a, b in pairwise(ticks)
    )


def plain(x: float) -> str:
    """A round number as people write it, e.g. ``"0.02"``, ``"10,000"``, ``"2 M"``."""
    for size, unit in _LARGE:
        if x >= size:
            return f"{x / size:g}{unit}"
    return f"{x:,.0f}" if x >= 1 and x == round(x) else f"{x:.2g}"


def padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """Limits around values, never equal, with a share of their range free at each end."""
    low, high = min(values), max(values)
    pad = share * (high - low) or 0.05 * abs(low) or 1.0
    return low - pad, high + pad


def robust(curves: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Limits that show where curves end: the steep first part may leave the plot at the top."""
    ordered = sorted(value for curve in curves for value in curve)
    low, most = ordered[0], ordered[math.ceil(0.9 * (len(ordered) - 1))]
    ends = max(curve[-1] for curve in curves if len(curve))
    # A curve that ends above most values is seen to its end, unless it left all others behind.
    return padded([low, max(most, min(ends, low + _MAX_STRETCH * (most - low)))])
