"""Learning curves: all methods in one plot, or each row's runs in axes that all rows share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import FuncFormatter, MaxNLocator

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
    labelled = any(s.label for s in series)
    with svg.settings():
        figure, axes = _axes(series, _HEIGHT, 84 if labelled else _RIGHT, BOTTOM)
        for s in series:
            colour, width = (svg.ACCENT, 1.5) if s.lead else (svg.LINE, 1.0)
            axes.plot(*zip(*s.points, strict=True), color=colour, linewidth=width)
        title_x(axes, "charged seconds")
        _end_labels(axes, [s for s in series if s.label])
        return svg.finish(figure, prefix, title)


def _axes(series: Sequence[Series], height: int, right: int, bottom: int) -> tuple[Figure, Axes]:
    figure, axes = new_axes(height, right=right, top=_TOP, bottom=bottom)
    axes.set_xlim(0.0, max(s.points[-1][0] for s in series) or 1.0)
    axes.set_ylim(*robust([[y for _, y in s.points] for s in series]))
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


def panels(found: Sequence[Panel], *, name: str) -> tuple[str, list[str]]:
    """Draws many small figures in axes that all share, so that curves can be compared by eye.

    All are drawn in one figure, which is then taken apart: the axes are there once, as a symbol.

    Args:
        found: What each shows, against charged seconds and against device-hours.
        name: Id of the symbol, and prefix of all ids.

    Returns:
        A ``symbol`` element, and an ``svg`` element for each that needs it on the same page.
    """
    with svg.settings():
        every = [s for panel in found for s in panel.series]
        figure, axes = _axes(every, _PANEL_HEIGHT, _RIGHT, _TWO_SCALES)
        for number, panel in enumerate(found):
            _draw_panel(axes, panel, svg.part_gid(f"{number}"))
        frame = svg.draw(figure, name)
    parts = svg.take_parts(frame)
    box = f"0 0 {svg.WIDTH} {_PANEL_HEIGHT}"
    symbol = svg.element("symbol", id=name, viewBox=box)
    symbol.extend(frame)
    images = []
    for number, panel in enumerate(found):
        image = svg.element("svg", viewBox=box)
        svg.as_image(image, _PANEL_HEIGHT, panel.title)
        image.append(svg.element("use", href=f"#{name}"))
        image.extend(parts[f"{number}"])
        images.append(svg.text(image))
    return svg.text(symbol), images


def _draw_panel(axes: Axes, panel: Panel, gid: str) -> None:
    """The curves, the paper's value, and device-hours under the seconds."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    below: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "gid": gid}
    for tick in (float(t) for t in axes.get_xticks() if left <= t <= right):
        hours = plain(tick * panel.devices / 3600)
        write(axes, hours, (tick, 0.0), (0, _HOURS_BELOW), ha="center", **below)
    write(axes, _TWO_NUMBERS, (right, 0.0), (0, _TITLE_BELOW), ha="right", **below)
    for s in panel.series:
        axes.plot(*zip(*s.points, strict=True), color=svg.ACCENT, linewidth=1.25, gid=gid)
    if panel.paper is None or panel.paper > high:
        return
    if panel.paper < low:  # said at the top, where a curve that comes down leaves room
        said = f"paper: {panel.paper:g}, below ↓"
        write(axes, said, (right, 1.0), (0, -10), ha="right", **below)
    else:
        axes.axhline(panel.paper, color=svg.INK, linewidth=1, linestyle=(0, (3, 3)), gid=gid)
        at = (right, (panel.paper - low) / (high - low))
        write(axes, "paper", at, (0, 4), ha="right", **below)
