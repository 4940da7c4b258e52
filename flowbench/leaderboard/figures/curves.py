"""Learning curves: all methods in one plot, or each row's runs in axes that all rows share."""

from __future__ import annotations

import xml.etree.ElementTree as ET
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
_PANEL_HEIGHT = 174
_TWO_NUMBERS = "charged seconds, and below them device-hours"


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line.

    Attributes:
        x: Charged seconds.
        y: Values.
        label: What stands at its end; empty for none.
        lead: Whether it is drawn in the accent colour.
    """

    x: Sequence[float]
    y: Sequence[float]
    label: str = ""
    lead: bool = False


def curves(series: Sequence[Series], *, prefix: str, title: str, height: int = 200) -> str:
    """Draws learning curves against charged seconds, as an ``svg`` element.

    Args:
        series: The lines, the leading ones last.
        prefix: Of ids, unique on the page.
        title: For those who cannot see it.
        height: In pixels.
    """
    labelled = any(s.label for s in series)
    with svg.settings():
        figure, axes = _axes(series, height, 84 if labelled else _RIGHT, BOTTOM)
        for s in series:
            colour, width = (svg.ACCENT, 1.5) if s.lead else (svg.LINE, 1.0)
            axes.plot(s.x, s.y, color=colour, linewidth=width)
        title_x(axes, "charged seconds")
        _end_labels(axes, [s for s in series if s.label and len(s.y)], height)
        return svg.finish(figure, prefix, title)


def _axes(series: Sequence[Series], height: int, right: int, bottom: int) -> tuple[Figure, Axes]:
    figure, axes = new_axes(height, right=right, top=_TOP, bottom=bottom)
    axes.set_xlim(0.0, max((x for s in series for x in s.x), default=0.0) or 1.0)
    axes.set_ylim(*robust([s.y for s in series]))
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 1.5, 2, 3, 5, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: plain(x)))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    return figure, axes


def _end_labels(axes: Axes, labelled: Sequence[Series], height: int) -> None:
    """Writes labels at the ends of lines, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    gap = _LABEL_GAP * (high - low) / (height - _TOP - BOTTOM)
    ordered = sorted(labelled, key=lambda s: (s.y[-1], s.label))
    for s, at in zip(ordered, spread([max(s.y[-1], low) for s in ordered], gap, high), strict=True):
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


def panels(
    found: Sequence[Panel], *, name: str, height: int = _PANEL_HEIGHT
) -> tuple[str, list[str]]:
    """Draws many small figures in axes that all share, so that curves can be compared by eye.

    All are drawn in one figure, which is then taken apart: the axes are there once, as a symbol.

    Args:
        found: What each shows, against charged seconds and against device-hours.
        name: Id of the symbol, and prefix of all ids.
        height: Of each figure, in pixels.

    Returns:
        ``symbol`` elements, and an ``svg`` element for each that needs them on the same page.
    """
    with svg.settings():
        every = [s for panel in found for s in panel.series]
        figure, axes = _axes(every, height, _RIGHT, _TWO_SCALES)
        for devices in {panel.devices for panel in found}:
            _draw_hours(axes, devices)
        for number, panel in enumerate(found):
            gid = svg.part_gid(f"panel-{number}")
            for s in panel.series:
                axes.plot(s.x, s.y, color=svg.ACCENT, linewidth=1.25, gid=gid)
            _draw_paper(axes, panel.paper, f"panel-{number}")
        root = svg.draw(figure, name)
    parts = svg.take_parts(root)
    symbols = {name: list(root)}
    symbols |= {f"{name}-{part}": some for part, some in parts.items() if "devices" in part}
    drawn = []
    for number, panel in enumerate(found):
        image = svg.element("svg", viewBox=f"0 0 {svg.WIDTH} {height}")
        svg.as_image(image, height, panel.title)
        for used in (name, f"{name}-devices-{panel.devices}"):
            image.append(svg.element("use", href=f"#{used}"))
        image.extend(parts.get(f"panel-{number}", ()))
        drawn.append(svg.text(image))
    return "".join(_symbol(*one, height) for one in symbols.items()), drawn


def _symbol(name: str, content: Sequence[ET.Element], height: int) -> str:
    symbol = svg.element("symbol", id=name, viewBox=f"0 0 {svg.WIDTH} {height}")
    symbol.extend(content)
    return svg.text(symbol)


def _draw_hours(axes: Axes, devices: int) -> None:
    """Device-hours under the seconds, and what the two lines of numbers are."""
    (left, right), look = axes.get_xlim(), _below(f"devices-{devices}")
    for tick in (float(t) for t in axes.get_xticks() if left <= t <= right):
        hours = plain(tick * devices / 3600)
        write(axes, hours, (tick, 0.0), (0, _HOURS_BELOW), ha="center", **look)
    write(axes, _TWO_NUMBERS, (right, 0.0), (0, _TITLE_BELOW), ha="right", **look)


def _draw_paper(axes: Axes, value: float | None, part: str) -> None:
    (low, high), right, look = axes.get_ylim(), axes.get_xlim()[1], _below(part)
    if value is not None and value < low:
        # At the top, where a curve that comes down leaves room.
        below = f"paper: {value:g}, below ↓"
        write(axes, below, (right, 1.0), (0, -10), ha="right", **look)
    elif value is not None and value <= high:
        dashes: dict[str, Any] = {"color": svg.INK, "linewidth": 1, "linestyle": (0, (3, 3))}
        axes.axhline(value, gid=look["gid"], **dashes)
        at = (right, (value - low) / (high - low))
        write(axes, "paper", at, (0, 4), ha="right", **look)


def _below(part: str) -> dict[str, Any]:
    """Of a text at a position in seconds and in parts of the axes' height."""
    return {"xycoords": ("data", "axes fraction"), "gid": svg.part_gid(part)}
