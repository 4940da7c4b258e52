"""The papers' tables as data: layout from ``tables.toml``, values from ``results.csv``.

Values are strings, kept exactly as they were printed. Where each comes from, and what to keep in
mind when comparing, is in ``leaderboards/published/README.md``.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from flowbench.api.frozen import Frozen
from flowbench.api.specs import Direction, Role, Scale
from flowbench.errors import (
    BRIEF,
    SuiteError,
    UnknownNameError,
    first_problem,
    reason_of,
    unknown_name,
)
from flowbench.suite.find import SUITE_FOLDERS

TABLES, VALUES, BIBLIOGRAPHY = "tables.toml", "results.csv", "papers.bib"


class PublishedValue(Frozen):
    """One printed value: a line of ``results.csv``.

    Attributes:
        paper: Id of the paper that prints it.
        table: Id of its table.
        row_order: Row of the table, from 1.
        group: Group of rows as printed.
        method: Method as printed, without citation numbers.
        model_plugin: Lower-case id of the method, whether or not there is such a plugin.
        variant: What sets it apart from its namesakes.
        dataset: The data; empty where it has none.
        split: Where it was measured; empty where the paper does not say.
        metric: Name of the value.
        value: The printed string; empty for ``n/a``.
        qualifier: ``~``, ``<=``, ``<``, ``>``, ``x`` or ``n/a``.
        note: What other sources say of it.
    """

    paper: str
    table: str
    row_order: int
    group: str
    method: str
    model_plugin: str
    variant: str
    dataset: str
    split: str
    metric: str
    value: str
    # Apart from the value, so that `<= 3.1` can be ranked by its number and printed as it was.
    qualifier: str
    note: str


class PublishedMetric(Frozen):
    """What the values of one name are, beyond strings.

    Attributes:
        label: What a title calls it; empty if it needs no name there.
        short: The same along an axis.
        unit: Its unit.
        role: What it is on a board, as in `MetricSpec`.
        scale: How an axis shows it.
        ours: Name of the value of ours that stands beside it, where a suite names no other.
        states: What it tells of a training: the number of ``parameters``, of ``devices``, or the
            ``hours`` it took.
        per: What such a number counts, e.g. 1e6 for millions.
    """

    label: str = ""
    short: str = ""
    unit: str = ""
    role: Role = "quality"
    scale: Scale = "linear"
    ours: str = ""
    states: Literal["", "parameters", "devices", "hours"] = ""
    per: float = 1.0


class PublishedColumn(Frozen):
    """A column of a table.

    Attributes:
        key: Unique in the table.
        header: Heading as printed.
        metric: Name of its values.
        dataset: Their data; empty where each row has its own.
        variant: What its values must have as variant, if anything.
        better: Which way is better.
        decimals: Decimals for values of one's own.
        type: What its cells are; ``check`` is 1 or 0, ``stars`` are out of five.
        suffix: Printed after the value.
        plus_minus: Name of a value that is printed after it as ``±``.
    """

    key: str
    header: str
    metric: str
    dataset: str = ""
    variant: str = ""
    better: Direction
    decimals: int = 0
    type: Literal["number", "text", "check", "stars"] = "number"
    suffix: str = ""
    plus_minus: str = ""


class PublishedRow(Frozen):
    """A row of a table.

    Attributes:
        order: Its place, from 1.
        label: Method as printed.
        group: Its group.
        plugin: Lower-case id of the method.
        bib: BibTeX key.
        variant: What sets it apart from its namesakes.
        own: Measured by the authors of the paper, not quoted.
        mark: Sign printed after the label.
        dataset: Its data, where the columns name none.
        metric: Name of its values, in place of the column's.
        better: Which way is better, in place of the column's.
    """

    order: int
    label: str
    group: str = ""
    plugin: str = ""
    bib: str = ""
    variant: str = ""
    own: bool = False
    mark: str = ""
    dataset: str = ""
    metric: str = ""
    better: Direction | None = None


class PublishedPaper(Frozen):
    """Where tables come from.

    Attributes:
        id: Lower-case id.
        short: What boards call it, where they list the tables of papers.
        authors: The first ones, separated by commas.
        bib: BibTeX key.
        source: What the values were taken from.
    """

    id: str
    title: str
    short: str = ""
    authors: str = ""
    venue: str = ""
    year: int | None = None
    arxiv: str = ""
    bib: str = ""
    source: str


class PublishedTable(Frozen):
    """A table, figure caption or listing.

    Attributes:
        id: Lower-case id, also the name of the suite that mirrors it.
        paper: The paper.
        number: Its number or heading.
        kind: What it is in the paper.
        layout: ``grid``, or ``list`` for one line a value in file order.
        caption: What it shows, in our words.
        row_header: Heading of the rows.
        group_header: Heading of the groups, where they are a column.
        group_as_column: The paper prints groups as a column.
        groups: Names of the groups in order.
        groups_printed: The paper prints their names.
        dataset_from_row: A cell's data are the row's.
        published_cells: How many values there are.
        columns: The columns of a grid.
        rows: The rows in order.
        values: All values, in file order.
        metrics: What values are, by name; those that are not named are qualities without a unit.
    """

    id: str
    paper: PublishedPaper
    number: str
    kind: Literal["table", "figure", "text"]
    layout: Literal["grid", "list"]
    caption: str
    row_header: str
    group_header: str = ""
    group_as_column: bool = False
    groups: tuple[str, ...]
    groups_printed: bool = True
    dataset_from_row: bool = False
    published_cells: int
    columns: tuple[PublishedColumn, ...] = ()
    rows: tuple[PublishedRow, ...]
    values: tuple[PublishedValue, ...]
    metrics: Mapping[str, PublishedMetric] = Field(default_factory=dict)

    def metric(self, name: str) -> PublishedMetric:
        """What the values of a name are."""
        return self.metrics.get(name, PublishedMetric())

    def cell(self, row: PublishedRow, column: PublishedColumn) -> PublishedValue | None:
        """The value in a cell of a grid; None where the paper leaves it blank."""
        return self.named(row, column, row.metric or column.metric)

    def spread(self, row: PublishedRow, column: PublishedColumn) -> PublishedValue | None:
        """The half-width that a cell prints after its value as ±; None without one."""
        return self.named(row, column, column.plus_minus) if column.plus_minus else None

    def named(
        self, row: PublishedRow, column: PublishedColumn, metric: str
    ) -> PublishedValue | None:
        """The value of some name that stands in a cell; None without one."""
        dataset = row.dataset if self.dataset_from_row else column.dataset
        for value in self.values:
            if (
                (value.row_order, value.metric) == (row.order, metric)
                # Without a dataset the column has none (parameters, time): any value of the row
                # fits.
                and (not dataset or value.dataset == dataset)
                and (not column.variant or value.variant == column.variant)
            ):
                return value
        return None


def published_table(name: str) -> PublishedTable:
    """The published table of an id, with its values.

    Raises:
        UnknownNameError: There is no such table.
    """
    tables = _load(published_folder())
    if name not in tables:
        raise UnknownNameError(
            unknown_name("published table", name, tables, "flowbench list suites")
        )
    return tables[name]


def published_tables() -> dict[str, PublishedTable]:
    """All published tables by id, in the order of ``tables.toml``."""
    return dict(_load(published_folder()))


def published_paper(paper: str) -> PublishedPaper | None:
    """The paper of an id; None if none of the published tables is of it."""
    papers = (table.paper for table in published_tables().values())
    return next((one for one in papers if one.id == paper), None)


def paper_name(paper: str) -> str:
    """What boards call a published paper of an id; any other name stays as it is."""
    found = published_paper(paper)
    return paper if found is None else found.short or found.title


def published_folder() -> Path:
    """Where the published values are: in a checkout, or in an installed wheel.

    Raises:
        SuiteError: There is none.
    """
    for folder in SUITE_FOLDERS:
        if (folder / "published" / TABLES).is_file():
            return folder / "published"
    raise SuiteError("the published tables are missing; install flowbench again")


def load_tables(folder: Path) -> dict[str, PublishedTable]:
    """Reads and checks the tables of a folder.

    Args:
        folder: A folder with ``tables.toml`` and ``results.csv``.

    Returns:
        The tables by id.

    Raises:
        SuiteError: A table, row or value is not valid, or a value belongs to no table.
    """
    try:
        return _tables(folder)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        csv.Error,
    ) as exc:
        # Whatever is not the tables and rows that are asked of it.
        raise SuiteError(
            f"cannot read the published tables in {folder}: {reason_of(exc, BRIEF)}"
        ) from exc


def _tables(folder: Path) -> dict[str, PublishedTable]:
    layout = tomllib.loads((folder / TABLES).read_text(encoding="utf-8"))
    with (folder / VALUES).open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    papers = {paper["id"]: paper for paper in layout["paper"]}
    metrics = layout.get("metric", {})
    tables = {table["id"]: _table(table, papers, metrics, lines) for table in layout["table"]}
    # A value under a misspelt table would never be shown, and nobody would miss it.
    homeless = sorted({line["table"] for line in lines} - tables.keys())
    if homeless:
        raise SuiteError(f"{folder / VALUES}: no table {homeless[0]!r} in {TABLES}")
    return tables


def _table(
    table: dict[str, Any], papers: dict[str, Any], metrics: dict[str, Any], lines: Iterable[Any]
) -> PublishedTable:
    values = [line for line in lines if line["table"] == table["id"]]
    try:
        found = PublishedTable.model_validate(
            {**table, "paper": papers[table["paper"]], "values": values, "metrics": metrics}
        )
    except ValidationError as exc:
        raise SuiteError(f"published table {table['id']!r}: {first_problem(exc)}") from exc
    orders = {row.order for row in found.rows}
    # Likewise a value of a row that is not laid out.
    stray = [value for value in found.values if value.row_order not in orders]
    if stray:
        raise SuiteError(f"published table {found.id!r} has no row {stray[0].row_order}")
    return found


_load = cache(load_tables)  # of the tables that ship with flowbench, which do not change
