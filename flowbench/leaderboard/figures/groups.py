"""How one column's values lie in each group: published as strokes, reproduced as marks."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator, NullLocator

from flowbench.leaderboard.figures import svg
from flowbench.leaderboard.figures.axes import BOTTOM, new_axes, padded, title_x, write
from flowbench.leaderboard.figures.scatter import Point
from flowbench.leaderboard.figures.shapes import marker

_STRIP = 30  # pixels a group: its name, and its values below
_TOP = 2


def strips(
    groups: Sequence[tuple[str, Sequence[Point]]], *, prefix: str, title: str, x_title: str
) -> str:
    """Draws a strip for each group, as an ``svg`` element.

    Args:
        groups: Names with points, of which there is at least one each.
        prefix: Of ids, unique on the page.
        title: For those who cannot see it.
        x_title: The quantity.
    """
    height = _STRIP * len(groups) + _TOP + BOTTOM
    in_words = []
    with svg.settings():
        figure, axes = new_axes(height, left=6, right=12, top=_TOP)
        axes.set_xlim(*padded([p.y for _, points in groups for p in points], 0.04))
        axes.set_ylim(len(groups), 0)
        axes.yaxis.set_major_locator(NullLocator())
        axes.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
        for place, (name, points) in enumerate(groups):
            axes.axhline(place + 0.68, color=svg.RULE, linewidth=1, zorder=1)
            across = ("axes fraction", "data")
            write(axes, name, (0.0, place), (-6, -2), xycoords=across, va="top", color=svg.INK)
            published = [p for p in points if p.kind == "published"]
            ours = [p for p in points if p.kind != "published"]
            for found, shape, size, colour in (
                (published, "|", 9, svg.INK),
                (ours, marker(points[0].group), 5, svg.ACCENT),
            ):
                xs, ys = [p.y for p in found], [place + 0.68] * len(found)
                gid = svg.gid_of(p.row for p in found)
                axes.plot(xs, ys, shape, color=colour, zorder=3, markersize=size, gid=gid)
            in_words.append(f"{name}: {len(published)} published, {len(ours)} reproduced.")
        title_x(axes, x_title)
        return svg.finish(figure, prefix, title, " ".join(in_words))
