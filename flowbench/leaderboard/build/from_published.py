"""Lays out a paper's table: rows, groups and columns as printed, with room for our values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from flowbench.errors import SuiteError, did_you_mean
from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.ranking import Like
from flowbench.leaderboard.board.table import Board, Column, Group, Origin, Published, Row
from flowbench.leaderboard.build import frame
from flowbench.leaderboard.build.citations import citation, short_name
from flowbench.leaderboard.build.evidence import Source
from flowbench.leaderboard.build.frame import Frame, FrameCell, FrameRow
from flowbench.leaderboard.build.printed import costs, published
from flowbench.leaderboard.build.standing import choose
from flowbench.suite.published import (
    PublishedColumn,
    PublishedRow,
    PublishedTable,
    PublishedValue,
    published_table,
    published_tables,
)
from flowbench.suite.schema import BoardLayout, OurValue, Suite, Unlike

T = TypeVar("T")

_SIZE = re.compile(r"(?P<label>.+) (?P<size>[0-9]+x[0-9]+)")
_LIST_COLUMN = Column(
    key="value", label="Value", dataset="", metric="", unit="", direction="none", decimals=2
)


def frame_of_published(suite: Suite, source: Source) -> Frame:
    """The frame of a suite that mirrors a published table; a listing has one row a value.

    Raises:
        SuiteError: The suite's board names a row or column that the table does not have.
    """
    layout = suite.board or BoardLayout()
    table = published_table(layout.published)
    _check(table, layout)
    # A listing has no columns of its own: each value is a row.
    columns = tuple(_column(table, column) for column in table.columns) or (_LIST_COLUMN,)
    rows = _Rows(table, layout).all()
    chosen = choose(suite, source, [(c.dataset, c.model) for r in rows for c in r.cells if c.model])

    def filled(cell: FrameCell) -> FrameCell:
        return replace(cell, method=chosen.methods.get((cell.dataset, cell.model)))

    number = "Running text" if table.number == "text" else _capital(table.number)
    caption = f"{number} of {short_name(table.paper)}: {table.caption}"
    ours = frame.how_ours_were_made("Ours were", chosen.records)
    board = Board(
        slug=suite.name,
        suite=suite.name,
        title=suite.title or suite.name,
        description=f"{caption} Published values stand as printed. {ours}",
        columns=columns,
        groups=tuple(
            Group(name=name, printed=table.groups_printed and bool(name)) for name in table.groups
        ),
        row_header=table.row_header,
        group_header=table.group_header if table.group_as_column else "",
        shared_unit=frame.shared_unit(columns),
        layout=table.layout,
        caveats=layout.caveats,
        source=Origin(
            paper=table.paper.short or table.paper.title,
            number=_capital(table.number),
            provenance=f"Published values: {table.paper.source}.",
            citation=citation(table.paper.bib),
        ),
    )
    rows = [replace(row, cells=tuple(map(filled, row.cells))) for row in rows]
    return Frame(board=board, rows=rows, metrics=suite.metrics, chosen=chosen)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _check(table: PublishedTable, layout: BoardLayout) -> None:
    labels = {name for row in table.rows for name in _names(row)}
    keys = {column.key for column in table.columns} or {value.metric for value in table.values}
    named = {*layout.rows, *layout.remarks, *(r for unlike in layout.unlike for r in unlike.rows)}
    for unknown in sorted(named - labels):
        raise SuiteError(
            f"the board of {table.id!r} names a row {unknown!r}; "
            f"{did_you_mean(unknown, labels)}rows are those of the published table"
        )
    columns = {key for unlike in layout.unlike for key in unlike.columns}
    by_column = (runs for row in layout.rows.values() for runs in row.values())
    columns |= {key for runs in by_column if not isinstance(runs, str) for key in runs}
    for unknown in sorted(columns - keys):
        raise SuiteError(
            f"the board of {table.id!r} names a column {unknown!r}; expected one of "
            f"{', '.join(sorted(keys))}"
        )


def _column(table: PublishedTable, column: PublishedColumn) -> Column:
    match = _SIZE.fullmatch(column.header)
    metric = table.metric(column.metric)
    axis = words.with_unit(metric.short, metric.unit, ", ")
    return Column(
        key=column.key,
        label=match["label"] if match else column.header,
        detail=match["size"].replace("x", "×") if match else "",
        dataset=column.dataset,
        metric=column.metric,
        title=metric.label,
        axis=words.lower_first(axis) if metric.short else "",
        unit=metric.unit,
        direction=column.better,
        role=metric.role,
        scale=metric.scale,
        decimals=column.decimals,
        kind=column.type,
    )


class _Rows:
    """Lays out the rows of a table."""

    def __init__(self, table: PublishedTable, layout: BoardLayout) -> None:
        self._table, self._layout = table, layout
        # What the paper says its trainings cost, in whichever of its tables.
        tables = [t for t in published_tables().values() if t.paper.id == table.paper.id]
        self._hours = {key: h for other in tables for key, h in costs(other).items()}

    def all(self) -> list[FrameRow]:
        """All rows: one a value of a listing."""
        if self._table.layout == "list":
            return [self._listed(value) for value in self._table.values]
        return [self._row(row) for row in self._table.rows]

    def _row(self, row: PublishedRow) -> FrameRow:
        cells = tuple(self._cell(row, c, self._table.cell(row, c)) for c in self._table.columns)
        count = self._parameters(row)
        remark = _of_row(self._layout.remarks, row) or ""
        shown = _row(row, published_parameters=count, remark=remark)
        return FrameRow(row=shown, group=row.group, cells=cells)

    def _listed(self, value: PublishedValue) -> FrameRow:
        row = next(row for row in self._table.rows if row.order == value.row_order)
        about = [value.metric.replace("_", " "), value.variant, value.dataset, value.split]
        column = PublishedColumn(
            key=value.metric,
            header="Value",
            metric=value.metric,
            dataset=value.dataset,
            better="none",
            decimals=len(value.value.partition(".")[2]),
        )
        shown = _row(row, sub=", ".join(part for part in about if part), mark="")
        return FrameRow(row=shown, group=row.group, cells=(self._cell(row, column, value),))

    def _cell(
        self, row: PublishedRow, column: PublishedColumn, value: PublishedValue | None
    ) -> FrameCell:
        dataset = self._dataset(row, column)
        metric = row.metric or column.metric
        what = self._table.metric(metric)
        usual = OurValue(name=what.ours) if what.ours else None
        ours = self._layout.values.get(metric, usual)
        unlike = [one for one in self._layout.unlike if column.key in one.columns]
        pairs = ((u.fact, _ours(u), _theirs(u, row.label)) for u in unlike)
        return FrameCell.of(
            _column(self._table, column),
            contest=(column.key, dataset, metric),
            dataset=dataset,
            metric=metric,
            role=what.role,
            direction=row.better or column.better,
            # Beside words stands the hardware, or a number of ours if the suite says which.
            is_text=column.type == "text" and (ours is None or ours.name == "device"),
            ours=ours,
            model=self._model(row, column, dataset) if ours else "",
            published=self._published(row, column, value),
            theirs=Like.of(**{u.fact: _theirs(u, row.label) for u in unlike}),
            apart=tuple(pair for pair in pairs if pair[1] != pair[2]),
        )

    def _dataset(self, row: PublishedRow, column: PublishedColumn) -> str:
        """The data of a cell; where the paper names none, those that the suite runs the row on."""
        dataset = row.dataset if self._table.dataset_from_row else column.dataset
        runs = self._runs(row)
        return next(iter(runs)) if not dataset and len(runs) == 1 else dataset

    def _model(self, row: PublishedRow, column: PublishedColumn, dataset: str) -> str:
        """What runs a cell; empty without one."""
        runs = self._runs(row).get(dataset, "")
        return runs if isinstance(runs, str) else runs.get(column.key, "")

    def _runs(self, row: PublishedRow) -> Mapping[str, str | Mapping[str, str]]:
        """What runs a row, by the data set."""
        return _of_row(self._layout.rows, row) or {}

    def _published(
        self, row: PublishedRow, column: PublishedColumn, value: PublishedValue | None
    ) -> Published | None:
        if value is None:
            return None
        hours = self._hours.get((value.model_plugin, value.variant, value.dataset))
        return published(value, column, spread=self._table.spread(row, column), device_hours=hours)

    def _parameters(self, row: PublishedRow) -> float | None:
        for value in self._table.values:
            metric = self._table.metric(value.metric)
            of_row = value.row_order == row.order and row.dataset in ("", value.dataset)
            if of_row and metric.states == "parameters" and value.value:
                return float(value.value) * metric.per
        return None


def _names(row: PublishedRow) -> tuple[str, ...]:
    """What a suite calls a row, the name that it alone has first."""
    return (f"{row.label}, {row.variant}", row.label) if row.variant else (row.label,)


def _of_row(by_name: Mapping[str, T], row: PublishedRow) -> T | None:
    """What a suite says of a row, by a name of it."""
    return next((by_name[name] for name in _names(row) if name in by_name), None)


def _row(row: PublishedRow, **fields: Any) -> Row:
    of_row = {"name": row.label, "mark": row.mark, "own": row.own, "citation": citation(row.bib)}
    return Row(**{**of_row, **fields})


def _ours(unlike: Unlike) -> str:
    return unlike.here if unlike.ours == "here" else unlike.there


def _theirs(unlike: Unlike, label: str) -> str:
    return unlike.here if label in unlike.rows else unlike.there
