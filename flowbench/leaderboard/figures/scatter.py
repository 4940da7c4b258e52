"""Quality against cost, with the front of those that nothing beats in both."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.transforms import Bbox

from flowbench.api.specs import Scale
from flowbench.leaderboard.figures import svg
from flowbench.leaderboard.figures.axes import (
    BOTTOM,
    LEFT,
    new_axes,
    set_scale,
    title_x,
    title_y,
    write,
)
from flowbench.leaderboard.figures.labels import Layout
from flowbench.leaderboard.figures.shapes import marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Kind = Literal["reproduced", "unranked", "published"]

_HEIGHT, _TOP = 310, 20
_MAX_LABELS = 15
_NUMBER = re.compile(r"[-+.\d]+(e[-+]?\d+)?")
_STRIDE = 8.0  # pixels between the places that keep labels off the front
_LOOKS: Mapping[Kind, Mapping[str, Any]] = {
    "reproduced": {"color": svg.ACCENT, "markerfacecolor": svg.ACCENT, "zorder": 4},
    "unranked": {"color": svg.LINE, "markerfacecolor": svg.PAGE, "zorder": 3},
    "published": {"color": svg.INK, "markerfacecolor": svg.PAGE, "zorder": 3},
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """A value and its cost.

    Attributes:
        row: Key of the row that it is of.
        label: What stands beside it.
        x: Cost, greater than 0; 0 where there is none to be seen.
        y: Quality.
        kind: Ours, ours but not ranked, or the paper's.
        half_width: Half the 95 % interval of y; None without one.
        group: The group's place on the board, which gives the shape.
        lead: It is labelled however many there are.
        about: What tells it from other points of its row, which a line joins.
    """

    row: str
    label: str
    x: float = 0.0
    y: float
    kind: Kind = "reproduced"
    half_width: float | None = None
    group: int = 3
    lead: bool = False
    about: str = ""

    @property
    def name(self) -> str:
        """Its label, and what it is one of several points by."""
        return f"{self.label} ({self.about})" if self.about else self.label


def scatter(
    points: Sequence[Point],
    *,
    prefix: str,
    title: str,
    x_title: str,
    y_title: str,
    x_scale: Scale = "log",
    y_scale: Scale = "linear",
    higher_is_better: bool = False,
) -> str:
    """Draws quality against cost, as an ``svg`` element.

    Args:
        points: At least one; a lower cost is better.
        prefix: Of ids, unique on the page.
        title: For those who cannot see it.
        x_title: The cost.
        y_title: The quality.
        x_scale: How the cost is shown.
        y_scale: How the quality is shown; ``log`` if all of it is greater than 0.
        higher_is_better: Which way quality goes.
    """
    best = front([p for p in points if p.kind == "reproduced"], higher_is_better=higher_is_better)
    with svg.settings():
        figure, axes = new_axes(_HEIGHT, right=12, top=_TOP)
        set_scale(axes, "x", x_scale, [p.x for p in points])
        ends = [p.y + sign * (p.half_width or 0.0) for p in points for sign in (-1, 1)]
        set_scale(axes, "y", y_scale, ends)
        _draw_lines(axes, points, best)
        _draw_points(axes, points)
        title_x(axes, x_title)
        title_y(axes, y_title)
        _draw_labels(axes, points, best)
        names = ", ".join(p.name for p in best)
        front_in_words = f"Nothing reproduced beats these in both, cheapest first: {names}."
        return svg.finish(figure, prefix, title, front_in_words if best else "")


def front(points: Sequence[Point], *, higher_is_better: bool = False) -> list[Point]:
    """The Pareto front, by cost: those that nothing beats in both quality and cost."""
    sign = -1.0 if higher_is_better else 1.0
    best: list[Point] = []
    # By cost: what comes later is on the front only if its quality beats all cheaper ones.
    for p in sorted(points, key=lambda p: (p.x, sign * p.y, p.label)):
        if not best or sign * p.y < sign * best[-1].y:
            best.append(p)
    return best


def _draw_lines(axes: Axes, points: Sequence[Point], best: Sequence[Point]) -> None:
    """The front, and leaders from what is ours to what the paper has for the same row."""
    if best:
        xs, ys = [*(p.x for p in best), axes.get_xlim()[1]], [*(p.y for p in best), best[-1].y]
        axes.step(xs, ys, where="post", color=svg.ACCENT, linewidth=0.75, zorder=2)
    published = {p.row: p for p in points if p.kind == "published"}
    pairs = [(p, published[p.row]) for p in points if p.kind != "published" and p.row in published]
    _draw_broken(axes, pairs, linestyle=(0, (1, 2.5)))
    joined = [line for line in _of_rows(points) if len(line) > 1]
    if joined:
        _draw_broken(axes, joined, linestyle="solid")


def _draw_broken(axes: Axes, lines: Sequence[Sequence[Point]], *, linestyle: Any) -> None:
    """Draws thin lines as one, broken by NaN: a line each would be an element each."""
    xs = [x for line in lines for x in (*(p.x for p in line), math.nan)]
    ys = [y for line in lines for y in (*(p.y for p in line), math.nan)]
    axes.plot(xs, ys, color=svg.LINE, linewidth=1, zorder=1, linestyle=linestyle)


def _of_rows(points: Sequence[Point]) -> list[list[Point]]:
    """What is ours of each row, by cost, apart where more than numbers differ; often one point."""
    found: dict[tuple[str, str], list[Point]] = {}
    for p in sorted(points, key=lambda p: p.x):
        if p.kind != "published":
            found.setdefault((p.row, _NUMBER.sub("", p.about)), []).append(p)
    return list(found.values())


def _draw_points(axes: Axes, points: Sequence[Point]) -> None:
    """Draws the points that look alike in one go: one by one takes long for hundreds."""
    for kind, group in sorted({(p.kind, p.group) for p in points}):
        some = [p for p in points if (p.kind, p.group) == (kind, group)]
        look: dict[str, Any] = {"gid": svg.gid_of(p.row for p in some), **_LOOKS[kind]}
        ends = [(p.x, p.y - half, p.y + half) for p in some if (half := p.half_width)]
        if ends:
            axes.vlines(*zip(*ends, strict=True), color=look["color"], zorder=look["zorder"], lw=1)
        xs, ys = [p.x for p in some], [p.y for p in some]
        axes.plot(xs, ys, marker(group), markersize=6, markeredgewidth=1.1, **look)


def _draw_labels(axes: Axes, points: Sequence[Point], best: Sequence[Point]) -> None:
    """Writes labels, the most telling first, where there is room."""
    layout = Layout(Bbox([(LEFT, BOTTOM), (svg.WIDTH, _HEIGHT - _TOP + 4)]))
    places = axes.transData.transform([(p.x, p.y) for p in points]).tolist()
    at = {id(p): place for p, place in zip(points, places, strict=True)}
    layout.block(places)
    layout.block(_along([at[id(p)] for p in best], axes.bbox.x1))
    lines = _of_rows(points)
    first = {id(p) for p in best} | {id(p) for p in points if p.lead}
    first |= {id(line[0]) for line in lines if len(line) > 1}  # a line stands out, and asks whose
    points = [
        *(line[0] for line in lines),
        *(p for p in points if p.kind == "published"),
    ]
    shown = points if len(points) <= _MAX_LABELS else [p for p in points if id(p) in first]
    for p in sorted(shown, key=lambda p: (id(p) not in first, p.y, p.x, p.label, p.kind)):
        label = f"{p.label}, unranked" if p.kind == "unranked" else p.label
        x, y = at[id(p)]
        offset = layout.place(x, y, label)
        if offset is not None:
            look = {"color": svg.INK if p.kind == "reproduced" else svg.MUTED, "zorder": 5}
            at_mark, away = (p.x, p.y), (offset.dx, offset.dy)
            write(axes, label, at_mark, away, ha=offset.align, va="bottom", **look)


def _along(corners: Sequence[tuple[float, float]], right: float) -> Iterator[tuple[float, float]]:
    """Places along the front, so that no label lies on it."""
    for (x, y), (end, _) in pairwise([*corners, (right, 0.0)]):
        for step in range(1, int((end - x) / _STRIDE) + 1):
            yield x + _STRIDE * step, y
