"""Figures, drawn by matplotlib as SVG that follows the page's theme.

Every figure is drawn in placeholder colours at one pixel to the point. What comes out is rewritten:
style attributes, which a strict content security policy would drop, become presentation attributes
and classes that the page's style sheet colours; text stays text; ids are prefixed; nothing depends
on when or where it was drawn.
"""

from __future__ import annotations

import io
import math
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 8, 8, 32  # margins of a plot, in pixels
_SVG = "http://www.w3.org/2000/svg"
_XLINK_HREF = "{http://www.w3.org/1999/xlink}href"

# Placeholders: each stands for a token of the style sheet.
INK, MUTED, LINE, RULE, ACCENT = "#000001", "#000002", "#000003", "#000004", "#000005"
_TOKENS = {INK: "ink", MUTED: "muted", LINE: "line", RULE: "rule", ACCENT: "accent"}
_RC: Any = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "flowbench",
    "font.size": 11.0,
    "axes.unicode_minus": True,
    "path.simplify": False,
}
_TEXT_PX = 11.0


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line.

    Attributes:
        x: Positions.
        y: Values.
        label: What stands at its end; empty for none.
        lead: Whether it is drawn in the accent colour.
    """

    x: Sequence[float]
    y: Sequence[float]
    label: str = ""
    lead: bool = False


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point with its interval.

    Attributes:
        x: Cost.
        y: Quality.
        half_width: Half its interval; None without one.
        label: What stands beside it.
        ranked: Whether it competes.
    """

    x: float
    y: float
    half_width: float | None
    label: str
    ranked: bool = True


def curves(
    series: Sequence[Series], *, prefix: str, title: str, height: int = 160, x_title: str
) -> str:
    """Draws learning curves.

    Args:
        series: The lines, the leading ones last.
        prefix: Of ids, unique on the page.
        title: For those who cannot see it.
        height: In pixels.
        x_title: What is on the horizontal axis.

    Returns:
        An ``svg`` element.
    """
    right = 84 if any(s.label for s in series) else 8
    with _settings():
        figure, axes = _curve_axes(series, height, right, x_title)
        for s in series:
            colour = ACCENT if s.lead else LINE
            axes.plot(s.x, s.y, color=colour, linewidth=1.5 if s.lead else 1.0)
        _end_labels(axes, series, height)
        return _finish(figure, prefix, title, height)


def _curve_axes(
    series: Sequence[Series], height: int, right: int, x_title: str
) -> tuple[Figure, Axes]:
    figure, axes = _axes(height, left=_LEFT, right=right, top=_TOP, bottom=_BOTTOM)
    axes.set_xlim(0.0, max((x for s in series for x in s.x), default=0.0) or 1.0)
    axes.set_ylim(*_robust_limits([y for s in series for y in s.y]))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    _axis_title(axes, x_title)
    return figure, axes


@dataclass(frozen=True, kw_only=True)
class CurveFrame:
    """Axes that many small figures share, drawn once: their curves can be compared by eye.

    Attributes:
        symbol: The ``symbol`` element that each of them shows.
        name: Its id.
        x: Limits of the horizontal axis.
        y: Limits of the vertical axis.
        height: Of each figure, in pixels.
    """

    symbol: str
    name: str
    x: tuple[float, float]
    y: tuple[float, float]
    height: int

    @classmethod
    def around(
        cls, series: Sequence[Series], *, name: str, x_title: str, height: int = 160
    ) -> CurveFrame:
        """Draws the axes around all curves.

        Args:
            series: Every curve that will be drawn.
            name: Id of the symbol, and prefix of the ids in it.
            x_title: What is on the horizontal axis.
            height: Of each figure, in pixels.

        Returns:
            The frame.
        """
        with _settings():
            figure, axes = _curve_axes(series, height, _RIGHT, x_title)
            root = _root(figure, name)
        symbol = ET.Element(f"{{{_SVG}}}symbol", id=name, viewBox=f"0 0 {WIDTH} {height}")
        symbol.extend(root)
        return cls(
            symbol=_text(symbol), name=name, x=axes.get_xlim(), y=axes.get_ylim(), height=height
        )

    def draw(self, series: Sequence[Series], title: str) -> str:
        """Draws some of the curves.

        Args:
            series: The curves.
            title: For those who cannot see it.

        Returns:
            An ``svg`` element that needs the symbol on the same page.
        """
        width, height = WIDTH - _LEFT - _RIGHT, self.height - _TOP - _BOTTOM
        root = ET.Element(f"{{{_SVG}}}svg", viewBox=f"0 0 {WIDTH} {self.height}")
        _as_image(root, title, self.height)
        ET.SubElement(root, f"{{{_SVG}}}use", href=f"#{self.name}")
        # An inner svg cuts off what leaves it.
        box = {"x": str(_LEFT), "y": str(_TOP), "width": str(width), "height": str(height)}
        inner = ET.SubElement(root, f"{{{_SVG}}}svg", box)
        (left, right), (low, high) = self.x, self.y
        for s in series:
            across = (width * (x - left) / (right - left) for x in s.x)
            down = (height * (high - y) / (high - low) for y in s.y)
            points = " ".join(f"{a:.1f},{d:.1f}" for a, d in zip(across, down, strict=True))
            line = {"points": points, "class": "stroke-accent", "fill": "none"}
            ET.SubElement(inner, f"{{{_SVG}}}polyline", line | {"stroke-width": "1.25"})
        return _text(root)


def pareto(
    points: Sequence[Point], *, prefix: str, title: str, height: int = 250, x_title: str
) -> str:
    """Draws quality against cost, with the front of those that nothing beats in both.

    Args:
        points: The points; lower is better in both.
        prefix: Of ids, unique on the page.
        title: For those who cannot see it.
        height: In pixels.
        x_title: What is on the horizontal axis.

    Returns:
        An ``svg`` element.
    """
    with _settings():
        figure, axes = _axes(height, left=_LEFT, right=12, top=_TOP, bottom=_BOTTOM)
        axes.set_xscale("log")
        front = _front([p for p in points if p.ranked])
        if len(front) > 1:
            axes.step(
                [p.x for p in front], [p.y for p in front], where="post", color=ACCENT,
                linewidth=0.75,
            )  # fmt: skip
        for p in points:
            if p.half_width:
                axes.plot([p.x] * 2, [p.y - p.half_width, p.y + p.half_width], color=ACCENT, lw=1)
            axes.plot(
                [p.x], [p.y], "o", markersize=6, color=ACCENT if p.ranked else LINE,
                markerfacecolor=ACCENT if p.ranked else "none",
            )  # fmt: skip
        axes.margins(0.18, 0.12)
        _plain_log_ticks(axes, [p.x for p in points])
        axes.yaxis.set_major_locator(MaxNLocator(5))
        _axis_title(axes, x_title)
        figure.canvas.draw()
        _point_labels(axes, points)
        return _finish(figure, prefix, title, height)


@contextmanager
def _settings() -> Iterator[None]:
    """Our settings alone, whatever the user's matplotlibrc says."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        # The page's fonts draw the text; matplotlib's own may lack a glyph of somebody's name.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _axes(height: int, *, left: int, right: int, top: int, bottom: int) -> tuple[Figure, Axes]:
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
    axes.tick_params(length=0, labelcolor=MUTED, labelsize=_TEXT_PX, pad=4)
    return figure, axes


def _axis_title(axes: Axes, text: str) -> None:
    axes.annotate(
        text, (1.0, 0.0), xycoords="axes fraction", xytext=(0, -29), textcoords="offset points",
        ha="right", va="bottom", color=MUTED, fontsize=_TEXT_PX, annotation_clip=False,
    )  # fmt: skip


def _robust_limits(values: Sequence[float]) -> tuple[float, float]:
    """Limits that show where curves end: the steep first part may leave the plot at the top."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[math.ceil(0.9 * (len(ordered) - 1))]
    pad = 0.08 * (high - low) or 0.5 * abs(low) or 1.0
    return low - pad, high + pad


def _end_labels(axes: Axes, series: Sequence[Series], height: int) -> None:
    """Writes labels at the ends of lines, moved apart where they would overlap."""
    labelled = [s for s in series if s.label and len(s.y)]
    low, high = axes.get_ylim()
    scale = (high - low) / (height - 40)
    taken: float | None = None
    for s in sorted(labelled, key=lambda s: (s.y[-1], s.label)):
        at = max(s.y[-1], low)
        at = at if taken is None else max(at, taken + 12 * scale)
        taken = at
        axes.annotate(
            s.label, (1.0, at), xycoords=("axes fraction", "data"), xytext=(5, 0),
            textcoords="offset points", va="center", color=ACCENT if s.lead else MUTED,
            fontsize=_TEXT_PX, annotation_clip=False,
        )  # fmt: skip


def _front(points: Sequence[Point]) -> list[Point]:
    front: list[Point] = []
    for p in sorted(points, key=lambda p: (p.x, p.y, p.label)):
        if not front or p.y < front[-1].y:
            front.append(p)
    return front


_MAX_LABELS = 15


def _point_labels(axes: Axes, points: Sequence[Point]) -> None:
    """Writes labels beside points: to the right, or where that is taken above, below or left."""
    shown = points if len(points) <= _MAX_LABELS else _front([p for p in points if p.ranked])
    centres = [tuple(axes.transData.transform((p.x, p.y))) for p in points]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in centres]
    for p in sorted(shown, key=lambda p: (p.y, p.x, p.label)):
        x, y = axes.transData.transform((p.x, p.y))
        width = 6.0 * len(p.label)
        places = [(8, -4, "left"), (-8, -4, "right"), (0, 8, "center"), (0, -16, "center")]
        chosen = next((c for c in places if _is_free(x, y, width, c, taken)), places[0])
        taken.append(_box(x, y, width, chosen))
        axes.annotate(
            p.label, (p.x, p.y), xytext=chosen[:2], textcoords="offset points", ha=chosen[2],
            va="bottom", color=INK if p.ranked else MUTED, fontsize=_TEXT_PX, annotation_clip=False,
        )  # fmt: skip


Box = tuple[float, float, float, float]


def _box(x: float, y: float, width: float, place: tuple[int, int, str]) -> Box:
    dx, dy, anchor = place
    left = x + dx - {"left": 0.0, "center": width / 2, "right": width}[anchor]
    return (left, y + dy, left + width, y + dy + _TEXT_PX)


def _is_free(
    x: float, y: float, width: float, place: tuple[int, int, str], taken: Sequence[Box]
) -> bool:
    left, bottom, right, top = _box(x, y, width, place)
    inside = left >= 0 and right <= WIDTH and bottom >= 0
    return inside and not any(
        left < r and right > le and bottom < t and top > b for le, b, r, t in taken
    )


def _plain_log_ticks(axes: Axes, xs: Sequence[float]) -> None:
    decades = math.log10(max(xs) / min(xs)) if min(xs) > 0 else 1.0
    subs = (1.0,) if decades > 2 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=6))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _plain(x)))


def _plain(x: float) -> str:
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if x >= size:
            return f"{x / size:g}{unit}"
    return f"{x:g}"


def _finish(figure: Figure, prefix: str, title: str, height: int) -> str:
    root = _root(figure, prefix)
    _as_image(root, title, height)
    return _text(root)


def _root(figure: Figure, prefix: str) -> ET.Element:
    """Draws a figure as SVG that a strict policy leaves as it is."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    root = ET.fromstring(stream.getvalue())
    _strip(root)
    _style_as_attributes(root)
    _prefix_ids(root, prefix)
    return root


def _as_image(root: ET.Element, title: str, height: int) -> None:
    root.attrib.pop("version", None)
    size = {"width": str(WIDTH), "height": str(height)}
    root.attrib.update(size | {"role": "img", "class": "figure"})
    caption = ET.Element(f"{{{_SVG}}}title")
    caption.text = title
    root.insert(0, caption)


def _text(root: ET.Element) -> str:
    ET.register_namespace("", _SVG)
    return ET.tostring(root, encoding="unicode")


def _strip(root: ET.Element) -> None:
    """Takes out metadata and style elements; what they set stands in the page's style sheet."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"):
                parent.remove(child)


def _style_as_attributes(root: ET.Element) -> None:
    for element in root.iter():
        style = element.attrib.pop("style", "")
        pairs = [part.split(":", 1) for part in style.split(";") if ":" in part]
        for name, value in ((n.strip(), v.strip()) for n, v in pairs):
            if name != "font" and not name.startswith("font-"):
                element.set(name, value)
        classes = []
        for name in ("stroke", "fill"):
            token = _TOKENS.get(element.get(name, "").lower())
            if token:
                del element.attrib[name]
                classes.append(f"{name}-{token}")
        if classes:
            element.set("class", " ".join(classes))


def _prefix_ids(root: ET.Element, prefix: str) -> None:
    """Keeps the ids that something refers to, under a prefix; drops the others."""
    used: set[str] = set()
    for element in root.iter():
        if _XLINK_HREF in element.attrib:
            element.set("href", element.attrib.pop(_XLINK_HREF))
        for name, value in element.attrib.items():
            if name == "href" and value.startswith("#"):
                used.add(value[1:])
                element.set(name, f"#{prefix}-{value[1:]}")
            elif value.startswith("url(#"):
                used.add(value[5:-1])
                element.set(name, f"url(#{prefix}-{value[5:]}")
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in used:
            element.set("id", f"{prefix}-{own}")
