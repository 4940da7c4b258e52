"""Published against measured effects: alike in size on the diagonal."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.transforms import Bbox

from flowbench.leaderboard.board.table import Effect
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

_HEIGHT, _TOP = 310, 20


def agreement(effects: Sequence[Effect], *, prefix: str, title: str, unit: str) -> str:
    """Draws measured effects with their intervals over published ones, as an ``svg`` element.

    Args:
        effects: At least one, in one unit.
        prefix: Of ids, unique on the page.
        title: For those who cannot see it.
        unit: Of both axes.
    """
    with svg.settings():
        figure, axes = new_axes(_HEIGHT, right=12, top=_TOP)
        set_scale(axes, "x", "linear", [0.0, *(one.published for one in effects)])
        ends = [one.measured + side * one.half_width for one in effects for side in (-1, 1)]
        set_scale(axes, "y", "linear", [0.0, *ends])
        for line in (axes.axhline, axes.axvline):
            line(0.0, color=svg.LINE, linewidth=1, zorder=1)
        low = max(axes.get_xlim()[0], axes.get_ylim()[0])
        high = min(axes.get_xlim()[1], axes.get_ylim()[1])
        axes.plot([low, high], [low, high], color=svg.LINE, linestyle=(0, (1, 2.5)), zorder=1)
        xs = [one.published for one in effects]
        axes.vlines(
            xs,
            [one.measured - one.half_width for one in effects],
            [one.measured + one.half_width for one in effects],
            color=svg.ACCENT,
            lw=1,
            zorder=3,
        )
        gid = svg.gid_of(one.row for one in effects)
        ys = [one.measured for one in effects]
        axes.plot(xs, ys, "o", color=svg.ACCENT, markersize=5, zorder=4, gid=gid)
        title_x(axes, f"published, {unit}")
        title_y(axes, f"measured here, {unit}")
        layout = Layout(Bbox([(LEFT, BOTTOM), (svg.WIDTH, _HEIGHT - _TOP + 4)]))
        places = axes.transData.transform(list(zip(xs, ys, strict=True))).tolist()
        layout.block(places)
        for one, (x, y) in zip(effects, places, strict=True):
            offset = layout.place(x, y, one.label)
            if offset is not None:
                at, away = (one.published, one.measured), (offset.dx, offset.dy)
                look = {"ha": offset.align, "va": "bottom", "color": svg.INK, "zorder": 5}
                write(axes, one.label, at, away, **look)
        same = sum((one.published > 0) == (one.measured > 0) for one in effects)
        return svg.finish(figure, prefix, title, f"{same} of {len(effects)} have the same sign.")
