"""Lays out a paper's table: rows, groups and columns as printed, with room for our values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from flowbench.errors import SuiteError, did_you_mean
from flowbench.leaderboard import words
from flowbench.leaderboard.citations import paper_citation, short_name
from flowbench.leaderboard.evidence import Source
from flowbench.leaderboard.frame import (
    Frame,
    FrameCell,
    FrameRow,
    how_ours_were_made,
    shared_unit,
)
from flowbench.leaderboard.printed import costs, published
from flowbench.leaderboard.ranking import Like
from flowbench.leaderboard.standing import choose
from flowbench.leaderboard.table import Column, Origin, Published
from flowbench.suite.published import (
    PublishedColumn,
    PublishedRow,
    PublishedTable,
    PublishedValue,
    published_table,
    published_tables,
)
from flowbench.suite.schema import BoardLayout, OurValue, Suite, Unlike

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
    is_list = table.layout == "list"
    columns = (_LIST_COLUMN,) if is_list else tuple(_column(table, c) for c in table.columns)
    made = _Cells(table=table, layout=layout, hours=_paper_costs(table))
    rows = [made.listed(i, v) for i, v in enumerate(table.values, start=1)] if is_list else [
        made.row(row) for row in table.rows
    ]  # fmt: skip
    chosen = choose(suite, source, [(c.dataset, c.model) for r in rows for c in r.cells if c.model])
    rows = [
        replace(
            row,
            cells=tuple(
                replace(cell, method=chosen.methods.get((cell.dataset, cell.model)))
                for cell in row.cells
            ),
        )
        for row in rows
    ]
    number = "Running text" if table.number == "text" else _capital(table.number)
    said = f"{number} of {short_name(table.paper)}: {table.caption}"
    ours = how_ours_were_made("Ours were", chosen.records)
    return Frame(
        slug=suite.name,
        suite=suite.name,
        title=suite.title or suite.name,
        description=f"{said} Published values stand as printed. {ours}",
        columns=columns,
        rows=tuple(rows),
        groups=table.groups,
        groups_printed=table.groups_printed,
        row_header=table.row_header,
        group_header=table.group_header if table.group_as_column else "",
        shared_unit=shared_unit(columns),
        layout=table.layout,
        source=Origin(
            paper=table.paper.short or table.paper.title,
            number=_capital(table.number),
            provenance=f"Published values: {table.paper.source}.",
            caveats=layout.caveats,
            citation=paper_citation(table.paper),
        ),
        metrics=suite.metrics,
        waiting=chosen.waiting,
        left_out=chosen.left_out,
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _check(table: PublishedTable, layout: BoardLayout) -> None:
    labels = {row.label for row in table.rows}
    keys = {column.key for column in table.columns} or {value.metric for value in table.values}
    named = set(layout.rows) | {label for unlike in layout.unlike for label in unlike.rows}
    for unknown in sorted(named - labels):
        raise SuiteError(
            f"the board of {table.id!r} names a row {unknown!r}; "
            f"{did_you_mean(unknown, labels)}rows are those of the published table"
        )
    for unknown in sorted({key for unlike in layout.unlike for key in unlike.columns} - keys):
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


def _paper_costs(table: PublishedTable) -> dict[tuple[str, str, str], float]:
    """What the paper says its trainings cost, in whichever of its tables."""
    found: dict[tuple[str, str, str], float] = {}
    for other in published_tables().values():
        if other.paper.id == table.paper.id:
            found |= costs(other)
    return found


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """Lays out the cells of a table; ``hours`` are what its trainings cost."""

    table: PublishedTable
    layout: BoardLayout
    hours: Mapping[tuple[str, str, str], float]

    def row(self, row: PublishedRow) -> FrameRow:
        """A row of a grid."""
        return FrameRow(
            label=row.label,
            group=row.group,
            mark=row.mark,
            bib=row.bib,
            own=row.own,
            published_parameters=self._parameters(row),
            cells=tuple(self._cell(row, column) for column in self.table.columns),
        )

    def listed(self, index: int, value: PublishedValue) -> FrameRow:
        """A value of a listing."""
        row = next(row for row in self.table.rows if row.order == value.row_order)
        about = [value.metric.replace("_", " "), value.variant, value.dataset, value.split]
        cell = FrameCell(
            contest=(f"line-{index}",),
            dataset=value.dataset,
            metric=value.metric,
            direction="none",
            decimals=len(value.value.partition(".")[2]),
            role=self.table.metric(value.metric).role,
            ours=(ours := self._ours(value.metric)),
            model=self._model(row.label, value.dataset) if ours else "",
            published=self._published(value),
            apart=self._apart(value.metric, row.label),
        )
        return FrameRow(
            label=row.label,
            group=row.group,
            about=", ".join(part for part in about if part),
            own=row.own,
            bib=row.bib,
            cells=(cell,),
        )

    def _cell(self, row: PublishedRow, column: PublishedColumn) -> FrameCell:
        value = self.table.cell(row, column)
        dataset = row.dataset if self.table.dataset_from_row else column.dataset
        metric = row.metric or column.metric
        return FrameCell(
            contest=(column.key, dataset, metric),
            dataset=dataset,
            metric=metric,
            direction=row.better or column.better,
            decimals=column.decimals,
            role=self.table.metric(metric).role,
            is_text=column.type == "text",
            ours=(ours := self._ours(metric)),
            model=self._model(row.label, dataset) if ours else "",
            published=None if value is None else self._published(value, row, column),
            theirs=self._like(row, column),
            apart=self._apart(column.key, row.label),
        )

    def _published(
        self,
        value: PublishedValue,
        row: PublishedRow | None = None,
        column: PublishedColumn | None = None,
    ) -> Published:
        return published(
            value,
            kind=column.type if column else "number",
            suffix=column.suffix if column else "",
            spread=self.table.spread(row, column) if row and column else None,
            device_hours=self.hours.get((value.model_plugin, value.variant, value.dataset)),
        )

    def _parameters(self, row: PublishedRow) -> float | None:
        for value in self.table.values:
            metric = self.table.metric(value.metric)
            of_row = value.row_order == row.order and row.dataset in ("", value.dataset)
            if of_row and metric.states == "parameters" and value.value:
                return float(value.value) * metric.per
        return None

    def _ours(self, metric: str) -> OurValue | None:
        name = self.table.metric(metric).ours
        return self.layout.values.get(metric) or (OurValue(name=name) if name else None)

    def _model(self, label: str, dataset: str) -> str:
        return self.layout.rows.get(label, {}).get(dataset, "")

    def _unlike(self, key: str) -> Iterator[Unlike]:
        return (unlike for unlike in self.layout.unlike if key in unlike.columns)

    def _like(self, row: PublishedRow, column: PublishedColumn) -> Like:
        facts = {
            unlike.fact: unlike.here if row.label in unlike.rows else unlike.there
            for unlike in self._unlike(column.key)
        }
        return Like.of(**facts)

    def _apart(self, key: str, label: str) -> tuple[tuple[str, str, str], ...]:
        """What our value and the printed one do not share."""
        pairs = (
            (
                unlike.fact,
                unlike.here if unlike.ours == "here" else unlike.there,
                unlike.here if label in unlike.rows else unlike.there,
            )
            for unlike in self._unlike(key)
        )
        return tuple((fact, ours, theirs) for fact, ours, theirs in pairs if ours != theirs)
