"""Learning curves: all methods in one plot, or each row's runs in axes that all rows share."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, MaxNLocator

from flowbench.leaderboard.figures.axes import BOTTOM, LEFT, new_axes, plain, robust, title_x
from flowbench.leaderboard.figures.labels import spread
from flowbench.leaderboard.figures.svg import (
    ACCENT,
    LINE,
    MUTED,
    NAMESPACE,
    TEXT_PX,
    WIDTH,
    as_image,
    draw,
    finish,
    settings,
    text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TOP = 8
_TWO_SCALES = 46  # bottom margin with a second line of numbers under the axis
_LABEL_GAP = 12
_RIGHT = 16  # half of the number under the end of the axis
_LINES_OF_NUMBERS = (15, 28, 41)  # baselines below the axis


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
class CurveFrame:
    """Axes that many small figures share, drawn once: their curves can be compared by eye.

    Attributes:
        symbol: The ``symbol`` element that each of them shows.
        name: Its id.
        x: Limits of the horizontal axis, in charged seconds.
        y: Limits of the vertical axis.
        ticks: Where the horizontal axis has numbers.
        height: Of each figure, in pixels.
    """

    symbol: str
    name: str
    x: tuple[float, float]
    y: tuple[float, float]
    ticks: tuple[float, ...]
    height: int

    @classmethod
    def around(cls, series: Sequence[Series], *, name: str, height: int = 174) -> CurveFrame:
        """Draws the axes around all curves.

        Args:
            series: Every curve that will be drawn.
            name: Id of the symbol, and prefix of the ids in it.
            height: Of each figure, in pixels.

        Returns:
            The frame.
        """
        with settings():
            figure, axes = _axes(series, height, _RIGHT, _TWO_SCALES)
            root = draw(figure, name)
        symbol = ET.Element(f"{{{NAMESPACE}}}symbol", id=name, viewBox=f"0 0 {WIDTH} {height}")
        symbol.extend(root)
        left, right = axes.get_xlim()
        return cls(
            symbol=text(symbol),
            name=name,
            x=(left, right),
            y=axes.get_ylim(),
            ticks=tuple(float(t) for t in axes.get_xticks() if left <= t <= right),
            height=height,
        )

    def draw(
        self, series: Sequence[Series], title: str, *, devices: int = 1, paper: float | None = None
    ) -> str:
        """Draws some of the curves, against charged seconds and against device-hours.

        Args:
            series: The curves.
            title: For those who cannot see it.
            devices: How many devices each run had.
            paper: The published value, which is dashed where it lies within the axes.

        Returns:
            An ``svg`` element that needs the symbol on the same page.
        """
        root = ET.Element(f"{{{NAMESPACE}}}svg", viewBox=f"0 0 {WIDTH} {self.height}")
        as_image(root, self.height, title)
        ET.SubElement(root, f"{{{NAMESPACE}}}use", href=f"#{self.name}")
        root.extend(self._numbers(devices))
        root.extend(self._paper(paper))
        # An inner svg cuts off what leaves it.
        box = {"x": str(LEFT), "y": str(_TOP)}
        box |= {"width": str(self._width), "height": str(self._depth)}
        inner = ET.SubElement(root, f"{{{NAMESPACE}}}svg", box)
        inner.extend(self._line(s) for s in series)
        return text(root)

    @property
    def _width(self) -> int:
        return WIDTH - LEFT - _RIGHT

    @property
    def _depth(self) -> int:
        return self.height - _TOP - _TWO_SCALES

    def _across(self, x: float) -> float:
        return self._width * (x - self.x[0]) / (self.x[1] - self.x[0])

    def _down(self, y: float) -> float:
        return self._depth * (self.y[1] - y) / (self.y[1] - self.y[0])

    def _line(self, s: Series) -> ET.Element:
        points = " ".join(
            f"{self._across(x):.1f},{self._down(y):.1f}" for x, y in zip(s.x, s.y, strict=True)
        )
        line = {"points": points, "class": "stroke-accent", "fill": "none", "stroke-width": "1.25"}
        return ET.Element(f"{{{NAMESPACE}}}polyline", line)

    def _numbers(self, devices: int) -> Iterator[ET.Element]:
        """Device-hours under the seconds, and what the two lines of numbers are."""
        for tick in self.ticks:
            hours = plain(tick * devices / 3600)
            yield _words(hours, LEFT + self._across(tick), self._below(1), "middle")
        said = "charged seconds, and below them device-hours"
        yield _words(said, WIDTH - _RIGHT, self._below(2), "end")

    def _below(self, line: int) -> float:
        return _TOP + self._depth + _LINES_OF_NUMBERS[line]

    def _paper(self, value: float | None) -> Iterator[ET.Element]:
        if value is None:
            return
        right = float(WIDTH - _RIGHT)
        if value < self.y[0]:
            # At the top, where a curve that comes down leaves room.
            yield _words(f"paper: {value:g}, below ↓", right, _TOP + 10, "end")
        elif value <= self.y[1]:
            y = _TOP + self._down(value)
            ends = {"x1": str(LEFT), "x2": str(right), "y1": f"{y:.1f}", "y2": f"{y:.1f}"}
            look = {"class": "stroke-ink", "stroke-dasharray": "3 3"}
            yield ET.Element(f"{{{NAMESPACE}}}line", ends | look)
            yield _words("paper", right, y - 4, "end")


def _words(said: str, x: float, y: float, anchor: str) -> ET.Element:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "class": "fill-muted"}
    element = ET.Element(f"{{{NAMESPACE}}}text", place)
    element.text = said
    return element
