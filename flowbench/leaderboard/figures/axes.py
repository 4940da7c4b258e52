"""Axes without a box: hairline grid, horizontal titles, plain numbers on a log scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from flowbench.api.specs import Scale
from flowbench.leaderboard.figures.svg import MUTED, RULE, TEXT_PX, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEFT, RIGHT, BOTTOM = 38, 8, 32  # margins of a plot, in pixels

_MAX_TICKS = 6
_FEW_DECADES = 2.05  # for more of them, 2 and 5 have no room between 1 and 10
_LARGE = ((1e9, " G"), (1e6, " M"))
_MAX_STRETCH = 4.0  # how much taller a plot may become for a curve that ends high


def new_axes(
    height: int, *, left: int = LEFT, right: int = RIGHT, top: int = 8, bottom: int = BOTTOM
) -> tuple[Figure, Axes]:
    """An empty plot as wide as the page's rail; its height and margins are in pixels."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    # Of its own, without pyplot: no state that two figures share, and no window.
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
    decades = high - low + 2 * pad
    axes.set(**{f"{which}scale": "log", f"{which}lim": (10 ** (low - pad), 10 ** (high + pad))})
    in_decades = LogLocator(subs=(1, 2, 5) if decades < _FEW_DECADES else (1,), numticks=_MAX_TICKS)
    axis.set_major_locator(in_decades if decades > 1 else MaxNLocator(4, steps=[1, 2, 5, 10]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: plain(x)))


def plain(x: float) -> str:
    """A round number as people write it, e.g. ``"0.02"``, ``"10,000"``, ``"2 M"``."""
    for size, unit in _LARGE:
        if x >= size:
            return f"{x / size:g}{unit}"
    return f"{x:,.0f}" if x >= 1 and x == round(x) else f"{x:.2g}"


def padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """Limits around values, never equal, with a share of their range free at each end."""
    low, high = min(values), max(values)
    # A single value, or equal ones, must not make an axis of no length.
    pad = share * (high - low) or 0.05 * abs(low) or 1.0
    return low - pad, high + pad


def robust(curves: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Limits that show where curves end: the steep first part may leave the plot at the top."""
    ordered = sorted(value for curve in curves for value in curve)
    low, most = ordered[0], ordered[math.ceil(0.9 * (len(ordered) - 1))]
    ends = max(curve[-1] for curve in curves if len(curve))
    # A curve that ends above most values is seen to its end, unless it left all others behind.
    return padded([low, max(most, min(ends, low + _MAX_STRETCH * (most - low)))])
