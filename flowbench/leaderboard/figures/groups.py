"""How one column's values lie in each group: published as strokes, reproduced as marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator, NullLocator

from flowbench.leaderboard.figures import svg
from flowbench.leaderboard.figures.axes import BOTTOM, new_axes, padded, title_x, write
from flowbench.leaderboard.figures.shapes import marker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STRIP = 30  # pixels a group: its name, and its values below
_TOP = 2


@dataclass(frozen=True, kw_only=True)
class Strip:
    """The values of one group.

    Attributes:
        name: The group.
        group: Its place on the board, which gives the shape.
        published: Row keys and the papers' values.
        reproduced: Row keys and our values.
    """

    name: str
    group: int
    published: tuple[tuple[str, float], ...]
    reproduced: tuple[tuple[str, float], ...]


def strips(groups: Sequence[Strip], *, prefix: str, title: str, x_title: str) -> str:
    """Draws a strip for each group, as an ``svg`` element.

    Args:
        groups: With at least one value among them.
        prefix: Of ids, unique on the page.
        title: For those who cannot see it.
        x_title: The quantity.
    """
    height = _STRIP * len(groups) + _TOP + BOTTOM
    with svg.settings():
        figure, axes = new_axes(height, left=6, right=12, top=_TOP)
        axes.set_xlim(*padded([x for g in groups for _, x in (*g.published, *g.reproduced)], 0.04))
        axes.set_ylim(len(groups), 0)
        axes.yaxis.set_major_locator(NullLocator())
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
        for place, strip in enumerate(groups):
            _draw(axes, place, strip)
        title_x(axes, x_title)
        return svg.finish(figure, prefix, title, _in_words(groups))


def _draw(axes: Axes, place: int, strip: Strip) -> None:
    axes.axhline(place + 0.68, color=svg.RULE, linewidth=1, zorder=1)
    across = ("axes fraction", "data")
    write(axes, strip.name, (0.0, place), (-6, -2), xycoords=across, va="top", color=svg.INK)
    for found, shape, size, colour in (
        (strip.published, "|", 9, svg.INK),
        (strip.reproduced, marker(strip.group), 5, svg.ACCENT),
    ):
        if found:
            xs, ys = [x for _, x in found], [place + 0.68] * len(found)
            gid = svg.gid_of(row for row, _ in found)
            axes.plot(xs, ys, shape, color=colour, zorder=3, markersize=size, gid=gid)


def _in_words(groups: Sequence[Strip]) -> str:
    counts = ((g.name, len(g.published), len(g.reproduced)) for g in groups)
    return " ".join(f"{name}: {p} published, {r} reproduced." for name, p, r in counts)
