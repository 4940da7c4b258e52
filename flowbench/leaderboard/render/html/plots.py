"""The plots beside and below a board's table: which there are, of what, and what their marks mean.

A plot is drawn only where there is something to see in it: a cost that hardly varies is no axis.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from flowbench.api.specs import Scale
from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.table import Board, Cell, Column, Row
from flowbench.leaderboard.figures import Kind, Point, Series, Strip, curves, scatter, strips

_SPREAD = 1.2  # a cost that varies less than this is no axis
_MAX_LABELLED = 8  # curves that can be told apart by labels at their ends
_MAX_LABEL = 24
_ROUND = 3  # the shape of a board without groups


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """A cost to plot against: what it is called, and what a cell of a row cost us and the paper."""

    name: str
    scale: Scale
    of: Callable[[Row, Cell], tuple[float | None, float | None]]


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


def plots(board: Board, ids: Mapping[str, str]) -> list[Plot]:
    """Draws a board's plots, the most telling first.

    Args:
        board: The board.
        ids: Ids of the rows on the page, by their keys.
    """
    quality = _quality(board)
    if quality is None or board.layout == "list":
        return []
    drawn = [
        _against(board, ids, quality, _HOURS),
        _curves(board),
        _groups(board, ids, quality),
        _against(board, ids, quality, _PARAMETERS),
    ]
    price = _price(board)
    if price is not None:
        metric = board.columns[quality].metric
        others = [i for i, c in enumerate(board.columns) if c.is_quality and c.metric != metric]
        drawn += [
            _against(board, ids, place, price, n) for n, place in enumerate(others or [quality])
        ]
    return [plot for plot in drawn if plot is not None]


def _quality(board: Board) -> int | None:
    """The column that plots are about: the quality with most values, ours before the paper's."""
    found = {
        i: (
            sum(row.cells[i].mean is not None for row in board.rows),
            sum(_published(row.cells[i]) is not None for row in board.rows),
        )
        for i, column in enumerate(board.columns)
        if column.is_quality
    }
    return max(found, key=lambda i: (found[i], -i), default=None)


def _dataset(board: Board, place: int) -> str:
    """A column's data; where each row has its own, those of most: values of others stay out."""
    own = Counter(cell.dataset for row in board.rows if (cell := row.cells[place]).dataset)
    return board.columns[place].dataset or next((name for name, _ in own.most_common(1)), "")


def _cells(board: Board, place: int) -> dict[str, Cell]:
    """A column's cells of one data set, by the rows' keys."""
    dataset, column = _dataset(board, place), board.columns[place]
    cells = {row.key: row.cells[place] for row in board.rows}
    return {key: c for key, c in cells.items() if (c.dataset or column.dataset) == dataset}


def _hours(row: Row, cell: Cell) -> tuple[float | None, float | None]:
    return cell.device_hours, cell.published.device_hours if cell.published else None


def _parameters(row: Row, cell: Cell) -> tuple[float | None, float | None]:
    return row.num_parameters, row.published_parameters


_HOURS = _Axis(name="device-hours", scale="log", of=_hours)
_PARAMETERS = _Axis(name="parameters", scale="log", of=_parameters)


def _price(board: Board) -> _Axis | None:
    """The first cost that the rows have: as the table says it, else each row's own."""
    first = next((cost for row in board.rows for cost in row.costs), None)
    if first is None:
        return None
    places = [i for i, column in enumerate(board.columns) if column.metric == first.metric]

    def price(row: Row, cell: Cell) -> tuple[float | None, float | None]:
        if places:
            return row.cells[places[0]].mean, None
        return next((c.value for c in row.costs if c.metric == first.metric), None), None

    return _Axis(name=first.axis, scale=first.scale, of=price)


def _published(cell: Cell) -> float | None:
    """The published value, if it is of the same data and measure as most of its column."""
    return cell.published.value if cell.published and not cell.published.unlike else None


# --- quality against a cost -----------------------------------------------------------------------


def _against(
    board: Board, ids: Mapping[str, str], place: int, cost: _Axis, number: int = 0
) -> Plot | None:
    column = board.columns[place]
    points = list(_points(board, ids, place, cost))
    xs = [p.x for p in points]
    if len(points) < 2 or max(xs) <= _SPREAD * min(xs):
        return None
    quality, data = _names(board, place)
    axis = words.printable(cost.name)
    name = re.sub(r"[^a-z]+", "-", axis.split()[0].lower()) + (f"-{number}" if number else "")
    svg = scatter(
        points,
        prefix=f"plot-{name}",
        title=f"{quality} against {axis}, {data}",
        x_title=f"{axis}, log scale" if cost.scale == "log" else axis,
        y_title=_axis(column),
        x_scale=cost.scale,
        y_scale=column.scale if all(p.y > (p.half_width or 0) for p in points) else "linear",
        higher_is_better=column.direction == "higher",
    )
    kinds: set[str] = {p.kind for p in points}
    kinds |= {"interval"} if any(p.half_width for p in points) else set()
    heading = f"{quality} against {axis}"
    return Plot(name=f"{board.slug}-{name}", heading=heading, about=data, marks=kinds, svg=svg)


def _points(board: Board, ids: Mapping[str, str], place: int, cost: _Axis) -> Iterator[Point]:
    labels, cells = _labels(board), _cells(board, place)
    for number, group in enumerate(board.groups):
        for row in (row for row in group.rows if row.key in cells):
            cell = cells[row.key]
            ours, theirs = cost.of(row, cell)
            shape = number if len(board.groups) > 1 else _ROUND
            label: dict[str, Any] = {"row": ids[row.key], "label": labels[row.key], "lead": row.own}
            if ours and cell.mean is not None:
                kind: Kind = "unranked" if cell.unlike or cell.struck else "reproduced"
                yield Point(
                    **label, x=ours, y=cell.mean, group=shape, half_width=cell.half_width, kind=kind
                )
            published = _published(cell)
            if theirs and published is not None:
                yield Point(**label, x=theirs, y=published, group=shape, kind="published")


def _labels(board: Board) -> dict[str, str]:
    """What stands beside points: names without presets, where that keeps them apart."""
    full = {row.key: words.printable(row.name) for row in board.rows}
    stems = {key: name.split(":")[0] for key, name in full.items()}
    counts = Counter(stems.values())
    return {key: _cut(stems[key] if counts[stems[key]] == 1 else full[key]) for key in full}


def _cut(label: str) -> str:
    return label if len(label) <= _MAX_LABEL else label[: _MAX_LABEL - 1] + "…"


def _axis(column: Column) -> str:
    return words.printable(column.axis or column.label)


def _names(board: Board, place: int) -> tuple[str, str]:
    """A column's quantity and its data, in words: as printed where the column is named for it."""
    column, datasets = board.columns[place], {c.dataset for c in board.columns}
    quantity = _axis(column)
    by_data = board.shared_unit and len(datasets) == len(board.columns) > 1
    data = f"{column.label} {column.detail}".strip() if by_data else _dataset(board, place)
    return quantity[:1].upper() + quantity[1:], words.printable(data)


# --- by group, and over time ----------------------------------------------------------------------


def _groups(board: Board, ids: Mapping[str, str], place: int) -> Plot | None:
    column, alike = board.columns[place], _cells(board, place)
    drawn = []
    for number, group in enumerate(board.groups):
        cells = [(ids[row.key], alike[row.key]) for row in group.rows if row.key in alike]
        sound = [(row, c) for row, c in cells if not c.unlike and not c.struck]
        published = tuple((row, x) for row, c in cells if (x := _published(c)) is not None)
        reproduced = tuple((row, c.mean) for row, c in sound if c.mean is not None)
        if published or reproduced:
            name = _cut(words.printable(group.name or group.rows[0].name))
            found = {"published": published, "reproduced": reproduced}
            drawn.append(Strip(name=name, group=number, **found))
    if len(drawn) < 2:
        return None
    quality, data = _names(board, place)
    title, axis = f"{quality} by group, {data}", _axis(column)
    svg = strips(drawn, prefix="plot-groups", title=title, x_title=axis)
    marks = {"stroke", *("mark" for strip in drawn if strip.reproduced)}
    heading = f"{quality} by group"
    return Plot(name=f"{board.slug}-groups", heading=heading, about=data, marks=marks, svg=svg)


def _curves(board: Board) -> Plot | None:
    """The learning curve of every method, one run each, where all ran on one data set."""
    rows = [row for row in board.rows if row.details.curves]
    units = {row.details.curves[0].unit for row in rows}
    if not rows or len({c.dataset for c in board.columns}) > 1 or len(units) > 1:
        return None
    labels = _labels(board)
    best = {row.key for row in rows if row.cells[0].best} or {rows[0].key}
    labelled = {row.key for row in rows[:_MAX_LABELLED]}
    series = [
        Series(
            x=[x for x, _ in row.details.curves[0].points],
            y=[y for _, y in row.details.curves[0].points],
            label=labels[row.key][:12] if row.key in labelled else "",
            lead=row.key in best,
        )
        for row in sorted(rows, key=lambda row: row.key in best)
    ]
    title = f"Learning curves of {words.count(len(rows), 'method')}"
    svg, name = curves(series, prefix="plot-curves", title=title), f"{board.slug}-curves"
    heading, unit = "Learning curves", units.pop()
    return Plot(name=name, heading=heading, about=unit, marks={"curves"}, svg=svg)
