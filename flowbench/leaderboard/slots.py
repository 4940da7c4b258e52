"""A board before anything was measured: which value belongs into which cell.

A *slot* is a cell to be filled: what the paper prints there, and which of our values stands beside
it. Grids and listings of published tables and boards of our own all become lines of slots.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from flowbench.api.specs import Direction
from flowbench.errors import SuiteError, did_you_mean
from flowbench.leaderboard.printed import costs, published
from flowbench.leaderboard.ranking import Like
from flowbench.leaderboard.table import Column, Published
from flowbench.suite.published import (
    PublishedColumn,
    PublishedRow,
    PublishedTable,
    PublishedValue,
    published_tables,
)
from flowbench.suite.schema import BoardLayout, OurValue, Suite, Unlike

UNITS = {"bpd": "bits/dim", "ll_nats_per_dim": "nats/dim", "ll_gap_nats_per_dim": "nats/dim"}
UNITS |= {"nll": "nats", "duration_h": "h"}
_SIZE = re.compile(r"(?P<label>.+) (?P<size>[0-9]+x[0-9]+)")


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A cell to be filled.

    Attributes:
        contest: What it is ranked with: equal for cells that compete.
        dataset: The data.
        metric: Name of the published value.
        direction: Which way is better.
        decimals: Decimals of our value.
        text: Our value is a text.
        ours: Which of our values stands in it; None for what we do not measure.
        model: What runs it, ``name`` or ``name:preset``; empty without one.
        published: What the paper prints; None where it leaves the cell blank.
        theirs: What the printed value shares with its like.
        apart: What keeps our value from being compared with the printed one: fact, ours, theirs.
    """

    contest: tuple[str, ...]
    dataset: str
    metric: str
    direction: Direction
    decimals: int
    text: bool = False
    ours: OurValue | None = None
    model: str = ""
    published: Published | None = None
    theirs: Like = field(default_factory=Like)
    apart: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row to be filled.

    Attributes:
        key: Unique on the board.
        label: The method.
        group: Its group.
        mark: Sign after the label.
        sub: What sets it apart.
        bib: BibTeX key.
        own: The paper's own row.
        published_parameters: The paper's parameter count.
        slots: One for each column.
    """

    key: str
    label: str
    group: str = ""
    mark: str = ""
    sub: str = ""
    bib: str = ""
    own: bool = False
    published_parameters: float | None = None
    slots: tuple[Slot, ...]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A board to be filled.

    Attributes:
        columns: The columns.
        lines: The rows in order.
        groups: Names of groups in order.
    """

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    groups: tuple[str, ...] = ("",)


# --- boards of our own ----------------------------------------------------------------------------


def own_frame(suite: Suite) -> Frame:
    """The frame of a board of our own over several data sets.

    Args:
        suite: A suite whose board names columns.

    Returns:
        One line a model.
    """
    layout = suite.board or BoardLayout()
    columns = tuple(
        Column(
            key=f"{column.dataset}/{column.metric}",
            label=column.header,
            detail=column.detail,
            dataset=column.dataset,
            metric=column.metric,
            unit=UNITS.get(column.metric, ""),
            direction=column.better,
            decimals=column.decimals,
        )
        for column in layout.columns
    )

    def slots(model: str) -> Iterator[Slot]:
        for column, shown in zip(layout.columns, columns, strict=True):
            yield Slot(
                contest=(shown.key,),
                dataset=column.dataset,
                metric=column.metric,
                direction=column.better,
                decimals=column.decimals,
                ours=OurValue(name=column.metric, per=column.per),
                model=model,
            )

    lines = (
        Line(key=f"row-{index}", label=model, slots=tuple(slots(model)))
        for index, model in enumerate(suite.models, start=1)
    )
    return Frame(columns=columns, lines=tuple(lines))


# --- published tables -----------------------------------------------------------------------------


def mirrored_frame(table: PublishedTable, layout: BoardLayout) -> Frame:
    """The frame of a published table.

    Args:
        table: The table.
        layout: Which models run its rows, and what is not alike.

    Returns:
        Rows, groups and columns as in the paper; a listing has one line a value.

    Raises:
        SuiteError: The layout names a row or column that the table does not have.
    """
    _check(table, layout)
    context = _Context(table=table, layout=layout, hours=_paper_costs(table))
    if table.layout == "list":
        return Frame(
            columns=(_LIST_COLUMN,),
            lines=tuple(context.listed(index, v) for index, v in enumerate(table.values, start=1)),
            groups=table.groups,
        )
    columns = tuple(_column(column) for column in table.columns)
    lines = tuple(context.line(row) for row in table.rows)
    return Frame(columns=columns, lines=lines, groups=table.groups)


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


_LIST_COLUMN = Column(
    key="value", label="Value", dataset="", metric="", unit="", direction="none", decimals=2
)


def _column(column: PublishedColumn) -> Column:
    match = _SIZE.fullmatch(column.header)
    return Column(
        key=column.key,
        label=match["label"] if match else column.header,
        detail=match["size"].replace("x", "×") if match else "",
        dataset=column.dataset,
        metric=column.metric,
        unit=UNITS.get(column.metric, ""),
        direction=column.better,
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
class _Context:
    table: PublishedTable
    layout: BoardLayout
    hours: Mapping[tuple[str, str, str], float] = field(default_factory=dict)

    def line(self, row: PublishedRow) -> Line:
        """A row of a grid."""
        return Line(
            key=f"row-{row.order}",
            label=row.label,
            group=row.group,
            mark=row.mark,
            bib=row.bib,
            own=row.own,
            published_parameters=_parameters(v for v in self.table.values if _of(v, row)),
            slots=tuple(self._slot(row, column) for column in self.table.columns),
        )

    def listed(self, index: int, value: PublishedValue) -> Line:
        """A value of a listing."""
        row = next(row for row in self.table.rows if row.order == value.row_order)
        ours = self._ours(value.metric)
        slot = Slot(
            contest=(f"line-{index}",),
            dataset=value.dataset,
            metric=value.metric,
            direction="none",
            decimals=len(value.value.partition(".")[2]),
            ours=ours,
            model=self._model(row.label, value.dataset) if ours else "",
            published=self._published(value),
            apart=self._apart(value.metric, row.label),
        )
        about = [value.metric.replace("_", " "), value.variant, value.dataset, value.split]
        return Line(
            key=f"row-{index}",
            label=row.label,
            group=row.group,
            sub=", ".join(part for part in about if part),
            own=row.own,
            bib=row.bib,
            slots=(slot,),
        )

    def _slot(self, row: PublishedRow, column: PublishedColumn) -> Slot:
        value = self.table.cell(row, column)
        dataset = row.dataset if self.table.dataset_from_row else column.dataset
        metric = row.metric or column.metric
        ours = self._ours(metric)
        return Slot(
            contest=(column.key, dataset, metric),
            dataset=dataset,
            metric=metric,
            direction=row.better or column.better,
            decimals=column.decimals,
            text=column.type == "text",
            ours=ours,
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
        spread = self.table.spread(row, column) if row and column else None
        return published(
            value,
            kind=column.type if column else "number",
            suffix=column.suffix if column else "",
            spread=spread,
            device_hours=self.hours.get((value.model_plugin, value.variant, value.dataset)),
        )

    def _ours(self, metric: str) -> OurValue | None:
        return self.layout.values.get(metric) or (
            OurValue(name=metric) if metric in ("bpd", "nll", "fid") else None
        )

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
        found = []
        for unlike in self._unlike(key):
            theirs = unlike.here if label in unlike.rows else unlike.there
            ours = unlike.here if unlike.ours == "here" else unlike.there
            if ours != theirs:
                found.append((unlike.fact, ours, theirs))
        return tuple(found)


def _of(value: PublishedValue, row: PublishedRow) -> bool:
    return value.row_order == row.order and (not row.dataset or value.dataset == row.dataset)


def _parameters(values: Iterator[PublishedValue]) -> float | None:
    millions = (v.value for v in values if v.metric == "params_m" and v.value)
    return next((float(text) * 1e6 for text in millions), None)
