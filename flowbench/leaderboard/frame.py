"""A board to be filled: which value belongs into which cell, whoever laid it out.

Three makers lay frames out: `from_records` for whatever is in the store, `from_suite` for the
columns that a suite names, `from_published` for the table of a paper. `build` fills all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from flowbench.api.specs import Direction, Role
from flowbench.leaderboard import numbers, words
from flowbench.leaderboard.evidence import Method, hardware
from flowbench.leaderboard.ranking import Like
from flowbench.leaderboard.table import Column, Origin, Published
from flowbench.store.records import AttemptRow, MeasurementRow
from flowbench.suite.schema import OurValue


@dataclass(frozen=True, kw_only=True)
class FrameCell:
    """A cell to be filled.

    Attributes:
        contest: What it is ranked in: equal for cells that compete.
        dataset: The data.
        metric: Name of the published value, or of ours.
        direction: Which way is better.
        decimals: Decimals of our value.
        role: What the value is.
        is_text: Our value is a text.
        ours: Which of our values stands in it; None for what we do not measure.
        model: What runs it, ``name`` or ``name:preset``; empty without one.
        method: The runs that fill it; None while there are none.
        published: What the paper prints; None where it leaves the cell blank.
        theirs: What the printed value shares with its like.
        apart: What keeps our value from being compared with the printed one: fact, ours, theirs.
    """

    contest: tuple[str, ...]
    dataset: str
    metric: str
    direction: Direction
    decimals: int
    role: Role = "quality"
    is_text: bool = False
    ours: OurValue | None = None
    model: str = ""
    method: Method | None = None
    published: Published | None = None
    theirs: Like = field(default_factory=Like)
    apart: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class FrameRow:
    """A row to be filled.

    Attributes:
        label: The method.
        group: Its group.
        mark: Sign after the label.
        about: What sets it apart.
        bib: BibTeX key.
        own: The paper's own row.
        published_parameters: The paper's parameter count.
        cells: One for each column.
    """

    label: str
    group: str = ""
    mark: str = ""
    about: str = ""
    bib: str = ""
    own: bool = False
    published_parameters: float | None = None
    cells: tuple[FrameCell, ...]

    @property
    def methods(self) -> dict[str, Method]:
        """The runs behind it, by data set."""
        return {cell.dataset: cell.method for cell in self.cells if cell.method is not None}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A board to be filled. What is not named here is as in `Board`.

    Attributes:
        groups: Names of the groups in order.
        groups_printed: The paper prints them.
        noun: What a row is.
        best_first: Rows are sorted by the first column; otherwise they stay in order.
        metrics: What the command of a row measures; None for what its runs were asked for.
        waiting: How many models have no runs yet.
        left_out: How many runs there are besides those shown.
    """

    slug: str
    suite: str = ""
    title: str
    description: str
    columns: tuple[Column, ...]
    rows: tuple[FrameRow, ...]
    groups: tuple[str, ...] = ("",)
    groups_printed: bool = False
    noun: str = "method"
    row_header: str = "Method"
    group_header: str = ""
    shared_unit: str = ""
    layout: Literal["grid", "list"] = "grid"
    source: Origin | None = None
    best_first: bool = False
    metrics: Sequence[str] | None = None
    waiting: int = 0
    left_out: int = 0

    @property
    def records(self) -> list[AttemptRow]:
        """All runs behind it, each once."""
        return list(_records(self.rows))


def _records(rows: Sequence[FrameRow]) -> Iterator[AttemptRow]:
    methods = {id(m): m for row in rows for m in row.methods.values()}
    return (record for method in methods.values() for record in method.records)


# --- words that makers share ----------------------------------------------------------------------


def quantity(measured: MeasurementRow | None) -> dict[str, Any]:
    """What a column says of the quantity that it shows, as arguments of `Column`."""
    if measured is None:
        return {"unit": ""}
    _, unit = numbers.scale(measured.unit)
    return {
        "title": measured.label,
        "axis": words.lower_first(words.with_unit(measured.short or "", unit, ", ")),
        "unit": unit,
        "role": measured.role,
        "scale": measured.scale,
    }


def shared_unit(columns: Sequence[Column]) -> str:
    """The quantity that all columns show, with its direction; empty if they differ."""
    first = columns[0]
    better = words.better(first.direction)
    same = len({(column.metric, column.direction) for column in columns}) == 1
    if not (same and first.title and better):
        return ""
    return f"{words.with_unit(first.title, first.unit, ' in ')}, {better}"


def how_ours_were_made(who: str, records: Sequence[AttemptRow]) -> str:
    """A sentence on the runs behind a board.

    Args:
        who: Subject and verb, e.g. ``"Ours were"``.
        records: The runs.
    """
    if not records:
        return "Nothing of it has been reproduced here yet."
    budget = common_budget(records)
    machines = {name for record in records if (name := hardware(record))}
    where = f" on {machines.pop()}," if len(machines) == 1 else ""
    trained = f"trained for {words.budget(budget)}{where} and " if budget else ""
    return f"{who} {trained}measured by flowbench’s protocol."


def common_budget(records: Sequence[AttemptRow]) -> str:
    """The budget of all runs; empty if they differ."""
    budgets = {record.job.budget for record in records}
    return budgets.pop() if len(budgets) == 1 else ""
