"""Learning curves: all methods in one plot, or each row's runs in axes that all rows share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import FuncFormatter, MaxNLocator

from flowbench.leaderboard.board.numbers import MINUS
from flowbench.leaderboard.figures import svg
from flowbench.leaderboard.figures.axes import BOTTOM, new_axes, plain, robust, title_x, write
from flowbench.leaderboard.figures.labels import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TOP = 8
_TWO_SCALES = 46  # bottom margin with a second line of numbers under the axis
_LABEL_GAP = 12
_RIGHT = 16  # half of the number under the end of the axis
_HOURS_BELOW, _TITLE_BELOW = -28, -41  # baselines under the axis, below the seconds
_HEIGHT, _PANEL_HEIGHT = 200, 174
_TWO_NUMBERS = "charged seconds, and below them device-hours"


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line.

    Attributes:
        points: Charged seconds and values.
        label: What stands at its end; empty for none.
        lead: Whether it is drawn in the accent colour.
    """

    points: Sequence[tuple[float, float]]
    label: str = ""
    lead: bool = False


def curves(series: Sequence[Series], *, prefix: str, title: str) -> str:
    """Draws learning curves against charged seconds, as an ``svg`` element.

    Args:
        series: The lines, the leading ones last.
        prefix: Of ids, unique on the page.
        title: For those who cannot see it.
    """
    right = 84 if any(s.label for s in series) else _RIGHT
    with svg.settings():
        figure, axes = _axes(_limits(series), _HEIGHT, right, BOTTOM)
        for s in series:
            colour, width = (svg.ACCENT, 1.5) if s.lead else (svg.LINE, 1.0)
            _draw(axes, s, colour, width)
        title_x(axes, "charged seconds")
        _end_labels(axes, [s for s in series if s.label])
        return svg.finish(figure, prefix, title)


def _draw(axes: Axes, line: Series, colour: str, width: float) -> None:
    """A line, or a dot where a run ended after one look."""
    is_line = len(line.points) > 1
    look = {"linewidth": width} if is_line else {"marker": "o", "markersize": 4}
    x, y = zip(*line.points, strict=True)
    # A dot on the edge of the plot is whole; a line may leave it.
    axes.plot(x, y, color=colour, clip_on=is_line, **look)


def _limits(series: Sequence[Series]) -> tuple[float, tuple[float, float]]:
    """Where the axes of lines end: seconds, and the range of values."""
    most = max(s.points[-1][0] for s in series) or 1.0
    return most, robust([[y for _, y in s.points] for s in series])


def _axes(
    limits: tuple[float, tuple[float, float]], height: int, right: int, bottom: int
) -> tuple[Figure, Axes]:
    figure, axes = new_axes(height, right=right, top=_TOP, bottom=bottom)
    axes.set(xlim=(0.0, limits[0]), ylim=limits[1])
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 1.5, 2, 3, 5, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: plain(x)))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    return figure, axes


def _end_labels(axes: Axes, labelled: Sequence[Series]) -> None:
    """Writes labels at the ends of lines, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    gap = _LABEL_GAP * (high - low) / (_HEIGHT - _TOP - BOTTOM)
    ordered = sorted(labelled, key=lambda s: (s.points[-1][1], s.label))
    for s, at in zip(
        ordered, spread([max(s.points[-1][1], low) for s in ordered], gap, high), strict=True
    ):
        look = {"va": "center", "color": svg.ACCENT if s.lead else svg.MUTED}
        write(axes, s.label, (1.0, at), (5, 0), xycoords=("axes fraction", "data"), **look)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What one of many small figures shows.

    Attributes:
        series: Its curves.
        title: For those who cannot see it.
        devices: How many devices each run had.
        paper: The published value, which is dashed where it lies within the axes.
    """

    series: Sequence[Series]
    title: str
    devices: int = 1
    paper: float | None = None


def panels(found: Sequence[Panel], *, prefix: str) -> list[str]:
    """Draws many small figures with the same axes, so that curves can be compared by eye.

    Args:
        found: What each shows, against charged seconds and against device-hours.
        prefix: Of ids, unique on the page.
    """
    limits = _limits([s for panel in found for s in panel.series])
    with svg.settings():
        return [_panel(panel, limits, f"{prefix}-{n}") for n, panel in enumerate(found)]


def _panel(panel: Panel, limits: tuple[float, tuple[float, float]], prefix: str) -> str:
    """The curves, the paper's value, and device-hours under the seconds."""
    figure, axes = _axes(limits, _PANEL_HEIGHT, _RIGHT, _TWO_SCALES)
    right, (low, high) = limits
    below: dict[str, Any] = {"xycoords": ("data", "axes fraction")}
    for tick in (float(t) for t in axes.get_xticks() if 0.0 <= t <= right):
        hours = plain(tick * panel.devices / 3600)
        write(axes, hours, (tick, 0.0), (0, _HOURS_BELOW), ha="center", **below)
    write(axes, _TWO_NUMBERS, (right, 0.0), (0, _TITLE_BELOW), ha="right", **below)
    for s in panel.series:
        _draw(axes, s, svg.ACCENT, 1.25)
    if panel.paper is not None and panel.paper < low:
        # At the top, where a curve that comes down leaves room.
        said = f"paper: {panel.paper:g}, below ↓".replace("-", MINUS)
        write(axes, said, (right, 1.0), (0, -10), ha="right", **below)
    elif panel.paper is not None and panel.paper <= high:
        axes.axhline(panel.paper, color=svg.INK, linewidth=1, linestyle=(0, (3, 3)))
        write(axes, "paper", (right, panel.paper), (0, 4), ha="right")
    return svg.finish(figure, prefix, panel.title)
