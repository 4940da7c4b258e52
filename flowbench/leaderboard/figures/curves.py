"""Learning curves: all methods in one plot, or each row's runs in axes that all rows share."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from matplotlib.ticker import FuncFormatter, MaxNLocator

from flowbench.leaderboard.figures.axes import BOTTOM, new_axes, plain, robust, title_x
from flowbench.leaderboard.figures.labels import spread
from flowbench.leaderboard.figures.svg import (
    ACCENT,
    INK,
    LINE,
    MUTED,
    TEXT_PX,
    WIDTH,
    as_image,
    draw,
    element,
    finish,
    part_gid,
    settings,
    take_parts,
    text,
)

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
    """Draws learning curves against charged seconds.

    Args:
        series: The lines, the leading ones last.
        prefix: Of ids, unique on the page.
        title: For those who cannot see it.
        height: In pixels.

    Returns:
        An ``svg`` element.
    """
    labelled = any(s.label for s in series)
    with settings():
        figure, axes = _axes(series, height, 84 if labelled else _RIGHT, BOTTOM)
        for s in series:
            axes.plot(
                s.x, s.y, color=ACCENT if s.lead else LINE, linewidth=1.5 if s.lead else 1.0
            )  # fmt: skip
        title_x(axes, "charged seconds")
        _end_labels(axes, [s for s in series if s.label and len(s.y)], height)
        return finish(figure, prefix, title)


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
        axes.annotate(
            s.label, (1.0, at), xycoords=("axes fraction", "data"), xytext=(5, 0),
            textcoords="offset points", va="center", color=ACCENT if s.lead else MUTED,
            fontsize=TEXT_PX, annotation_clip=False,
        )  # fmt: skip


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
    with settings():
        every = [s for panel in found for s in panel.series]
        figure, axes = _axes(every, height, _RIGHT, _TWO_SCALES)
        for devices in {panel.devices for panel in found}:
            _draw_hours(axes, devices)
        for number, panel in enumerate(found):
            for s in panel.series:
                axes.plot(s.x, s.y, color=ACCENT, linewidth=1.25, gid=part_gid(f"panel-{number}"))
            _draw_paper(axes, panel.paper, part_gid(f"panel-{number}"))
        root = draw(figure, name)
    parts = take_parts(root)
    symbols = {name: list(root)}
    symbols |= {f"{name}-{part}": some for part, some in parts.items() if "devices" in part}
    drawn = []
    for number, panel in enumerate(found):
        svg = element("svg", viewBox=f"0 0 {WIDTH} {height}")
        as_image(svg, height, panel.title)
        svg.append(element("use", href=f"#{name}"))
        svg.append(element("use", href=f"#{name}-devices-{panel.devices}"))
        svg.extend(parts.get(f"panel-{number}", ()))
        drawn.append(text(svg))
    return "".join(text(_symbol(key, some, height)) for key, some in symbols.items()), drawn


def _symbol(name: str, content: Sequence[ET.Element], height: int) -> ET.Element:
    symbol = element("symbol", id=name, viewBox=f"0 0 {WIDTH} {height}")
    symbol.extend(content)
    return symbol


def _draw_hours(axes: Axes, devices: int) -> None:
    """Device-hours under the seconds, and what the two lines of numbers are."""
    gid, (left, right) = part_gid(f"devices-{devices}"), axes.get_xlim()
    for tick in (float(t) for t in axes.get_xticks() if left <= t <= right):
        _write(axes, plain(tick * devices / 3600), (tick, 0.0), (0, _HOURS_BELOW), "center", gid)
    _write(axes, _TWO_NUMBERS, (right, 0.0), (0, _TITLE_BELOW), "right", gid)


def _draw_paper(axes: Axes, value: float | None, gid: str) -> None:
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    if value is not None and value < low:
        # At the top, where a curve that comes down leaves room.
        _write(axes, f"paper: {value:g}, below ↓", (right, 1.0), (0, -10), "right", gid)
    elif value is not None and value <= high:
        axes.axhline(value, color=INK, linewidth=1, linestyle=(0, (3, 3)), gid=gid)
        _write(axes, "paper", (right, (value - low) / (high - low)), (0, 4), "right", gid)


def _write(
    axes: Axes,
    words: str,
    at: tuple[float, float],
    offset: tuple[float, float],
    align: Literal["center", "right"],
    gid: str,
) -> None:
    """Writes at a position in seconds, and in parts of the axes' height."""
    axes.annotate(
        words, at, xycoords=("data", "axes fraction"), xytext=offset, textcoords="offset points",
        ha=align, va="baseline", color=MUTED, fontsize=TEXT_PX, annotation_clip=False, gid=gid,
    )  # fmt: skip
