"""The plots beside and below a board's table: which there are, of what, and what their marks mean.

A plot is drawn only where there is something to see in it: a cost that hardly varies is no axis.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace

from flowbench.api.specs import Scale
from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.table import Board, Cell, Column, Ladder, Row
from flowbench.leaderboard.figures.agreement import agreement
from flowbench.leaderboard.figures.curves import Series, curves
from flowbench.leaderboard.figures.groups import strips
from flowbench.leaderboard.figures.scatter import Kind, Point, scatter

_SPREAD = 1.2  # a cost that varies less than this is no axis
_FAR = 10.0  # qualities further apart than this need a log scale
_MAX_LABELLED = 8  # curves that can be told apart by labels at their ends
_MAX_LABEL = 24
_MAX_END = 13  # of a label at the end of a curve, beside which there is less room
_ROUND = 3  # the shape of a board without groups


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A plot on the page.

    Attributes:
        name: Of its file when saved.
        heading: What it shows, bold.
        about: Its data; of curves their unit.
        marks: What its caption explains.
        svg: The image, drawn by us: the XML writer has escaped its texts.
    """

    name: str
    heading: str
    about: str
    marks: Set[str]
    svg: str


def plots(board: Board) -> list[Plot]:
    """Draws a board's plots, the most telling first."""
    if board.effects:
        return list(_agreements(board))
    found = [_values(board, place) for place, c in enumerate(board.columns) if c.is_quality]
    # What plots are about: the quality with most values, ours before the paper's.
    about = max(
        found, key=lambda v: (v.num("reproduced", "unranked"), v.num("published")), default=None
    )
    if about is None or board.layout == "list":
        return []
    climbing = enumerate(_climbing(board, found))
    climbs = [plot for n, (one, ladder) in climbing if (plot := _climb(one, ladder, n))]
    drawn = [_against(about, _HOURS), _curves(board), _groups(about), _against(about, _PARAMETERS)]
    if board.cost is not None:
        found_of = board.cost.values
        price = _Cost(
            name=board.cost.axis,
            scale=board.cost.scale,
            ours=lambda row, cell: found_of.get(row.key),
        )
        others = [one for one in found if one.column.metric != about.column.metric]
        drawn += [_against(one, price, n) for n, one in enumerate(others or [about])]
    told = {plot.heading for plot in climbs}  # with more than a mark for each row
    return [*(plot for plot in drawn if plot and plot.heading not in told), *climbs]


@dataclass(frozen=True, kw_only=True)
class _Values:
    """The values of a column on one data set: what plots are drawn of.

    Attributes:
        axis: The quantity, along an axis.
        data: The data set.
        points: A point for each, yet without a cost, with its row and cell.
    """

    board: Board
    column: Column
    axis: str
    data: str
    points: Sequence[tuple[Point, Row, Cell]]

    def num(self, *kinds: Kind) -> int:
        """How many values are of these kinds."""
        return sum(point.kind in kinds for point, _, _ in self.points)

    @property
    def heading(self) -> str:
        """The quantity as a heading begins."""
        return self.axis[:1].upper() + self.axis[1:]


def _values(board: Board, place: int) -> _Values:
    """A column's values; where each row has its own data, those on the data of most."""
    column, columns = board.columns[place], board.columns
    own = Counter(row.cells[place].dataset for row in board.rows)
    dataset = column.dataset or max(own, key=lambda name: (name != "", own[name]), default="")
    # Columns that are named for their data say it as printed.
    by_data = board.shared_unit and len({c.dataset for c in columns}) == len(columns) > 1
    return _Values(
        board=board,
        column=column,
        axis=words.printable(column.axis or column.label),
        data=words.printable(f"{column.label} {column.detail}".strip() if by_data else dataset),
        points=list(_points(board, place, dataset)),
    )


def _points(board: Board, place: int, dataset: str) -> Iterator[tuple[Point, Row, Cell]]:
    labels = _labels(board)
    for number, group in enumerate(board.groups):
        for row in group.rows:
            cell = row.cells[place]
            if (cell.dataset or board.columns[place].dataset) != dataset:
                continue
            shape = number if len(board.groups) > 1 else _ROUND
            point = Point(row=row.key, label=labels[row.key], y=0.0, group=shape, lead=row.own)
            if cell.mean is not None:
                kind: Kind = "unranked" if cell.unlike or cell.struck else "reproduced"
                half = cell.half_width
                yield replace(point, y=cell.mean, half_width=half, kind=kind), row, cell
            theirs = cell.published
            if theirs and theirs.value is not None and not theirs.unlike:
                yield replace(point, y=theirs.value, kind="published"), row, cell


def _labels(board: Board) -> dict[str, str]:
    """What stands beside points: names without presets, where that keeps them apart."""
    full = {row.key: words.printable(row.name) for row in board.rows}
    stems = {key: name.split(":")[0] for key, name in full.items()}
    counts = Counter(stems.values())
    return {key: _cut(stems[key] if counts[stems[key]] == 1 else full[key]) for key in full}


def _cut(label: str, most: int = _MAX_LABEL) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


# --- quality against a cost -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Cost:
    """A cost to plot against: what it is called, and what a cell of a row cost us and the paper."""

    name: str
    scale: Scale = "log"
    ours: Callable[[Row, Cell], float | None]
    theirs: Callable[[Row, Cell], float | None] = lambda row, cell: None


_HOURS = _Cost(
    name="device-hours",
    ours=lambda row, cell: cell.device_hours,
    theirs=lambda row, cell: cell.published.device_hours if cell.published else None,
)
_PARAMETERS = _Cost(
    name="parameters",
    ours=lambda row, cell: row.num_parameters,
    theirs=lambda row, cell: row.published_parameters,
)


def _against(values: _Values, cost: _Cost, number: int = 0) -> Plot | None:
    points = [
        replace(point, x=x)
        for point, row, cell in values.points
        if (x := (cost.theirs if point.kind == "published" else cost.ours)(row, cell))
    ]
    name = re.sub(r"[^a-z]+", "-", cost.name.split()[0].lower()) + (f"-{number}" if number else "")
    return _drawn(values, points, cost.name, cost.scale, name, values.column.scale)


def _drawn(
    values: _Values, points: Sequence[Point], cost: str, scale: Scale, name: str, y_scale: Scale
) -> Plot | None:
    """Points of quality and cost; None where there is nothing to see in them."""
    xs = [p.x for p in points]
    if len(points) < 2 or max(xs) <= _SPREAD * min(xs):
        return None
    axis = words.printable(cost)
    heading = f"{values.heading} against {axis}"
    y_scale = y_scale if all(p.y > (p.half_width or 0) for p in points) else "linear"
    svg = scatter(
        points,
        prefix=f"plot-{name}",
        title=f"{heading}, {values.data}",
        x_title=f"{axis}, log scale" if scale == "log" else axis,
        y_title=f"{values.axis}, log scale" if y_scale == "log" else values.axis,
        x_scale=scale,
        y_scale=y_scale,
        higher_is_better=values.column.direction == "higher",
    )
    marks = {*(p.kind for p in points), *("interval" for p in points if p.half_width)}
    name = f"{values.board.slug}-{name}"
    return Plot(name=name, heading=heading, about=values.data, marks=marks, svg=svg)


# --- along sampling ladders -----------------------------------------------------------------------


def _climbing(board: Board, found: Sequence[_Values]) -> Iterator[tuple[_Values, Ladder]]:
    """The curves of qualities that have a column."""
    for values in found:
        for ladder in board.ladders:
            if (ladder.metric, ladder.dataset) == (values.column.metric, values.column.dataset):
                yield values, ladder


def _climb(values: _Values, ladder: Ladder, number: int) -> Plot | None:
    """Quality against the cost of samples: a line for each method that takes steps."""
    ours = {row.key: point for point, row, _ in values.points if point.kind != "published"}
    points = []
    for key, rungs in ladder.rungs.items():
        for rung in rungs if key in ours else ():
            # Of a method that has a ladder, what has no setting is how it is sampled unasked.
            label = ours[key].label + (", default" if not rung.sample and len(rungs) > 1 else "")
            at = replace(ours[key], x=rung.cost, y=rung.quality, half_width=None)
            points.append(replace(at, label=label, about=rung.sample))
    # From one step to many is more than what tells good methods apart.
    far = points and max(p.y for p in points) > _FAR * min(p.y for p in points)
    y_scale: Scale = "log" if far else values.column.scale
    plot = _drawn(values, points, ladder.axis, ladder.scale, f"steps-{number}", y_scale)
    return plot and replace(plot, marks=plot.marks | {"joined"})


# --- of claims ------------------------------------------------------------------------------------


def _agreements(board: Board) -> Iterator[Plot]:
    """Published against measured effects, a plot for each unit that has two."""
    counts = Counter(effect.unit for effect in board.effects)
    for number, (unit, count) in enumerate(counts.most_common()):
        if count < 2:
            continue
        effects = [effect for effect in board.effects if effect.unit == unit]
        heading, said = "Published against measured effects", words.printable(unit)
        yield Plot(
            name=f"{board.slug}-effects-{number}",
            heading=heading,
            about=said,
            marks={"effects"},
            svg=agreement(
                effects, prefix=f"plot-effects-{number}", title=f"{heading}, {said}", unit=said
            ),
        )


# --- by group, and over time ----------------------------------------------------------------------


def _groups(values: _Values) -> Plot | None:
    groups = values.board.groups
    ranked = [point for point, _, _ in values.points if point.kind != "unranked"]
    drawn = []
    for number, group in enumerate(groups):
        points = [point for point in ranked if point.group == number]
        if points:
            drawn.append((_cut(words.printable(group.name or group.rows[0].name)), points))
    if len(drawn) < 2:
        return None
    heading = f"{values.heading} by group"
    title = f"{heading}, {values.data}"
    svg = strips(drawn, prefix="plot-groups", title=title, x_title=values.axis)
    marks = {"mark" if point.kind == "reproduced" else "stroke" for point in ranked}
    name = f"{values.board.slug}-groups"
    return Plot(name=name, heading=heading, about=values.data, marks=marks, svg=svg)


def _curves(board: Board) -> Plot | None:
    """The learning curve of every method, one run each, where all ran on one data set."""
    rows = [row for row in board.rows if row.details and row.details[0].curves]
    first = {row.key: row.details[0].curves[0] for row in rows}
    units = {curve.unit for curve in first.values()}
    if not rows or len({c.dataset for c in board.columns}) > 1 or len(units) > 1:
        return None
    labels = _labels(board)
    best = {row.key for row in rows if row.cells[0].best} or {rows[0].key}
    labelled = {row.key for row in rows[:_MAX_LABELLED]}
    series = [
        Series(
            points=first[row.key].points,
            label=_cut(labels[row.key], _MAX_END) if row.key in labelled else "",
            lead=row.key in best,
        )
        for row in sorted(rows, key=lambda row: row.key in best)
    ]
    title = f"Learning curves of {words.count(len(rows), 'method')}"
    svg, name = curves(series, prefix="plot-curves", title=title), f"{board.slug}-curves"
    heading, unit = "Learning curves", units.pop()
    return Plot(name=name, heading=heading, about=unit, marks={"curves"}, svg=svg)
