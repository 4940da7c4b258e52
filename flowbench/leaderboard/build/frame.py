"""A board to be filled: which value belongs into which cell, whoever laid it out.

Three makers lay frames out: `from_records` for whatever is in the store, `from_suite` for the
columns that a suite names, `from_published` for the table of a paper. `build` fills all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flowbench.api.specs import Direction, Role
from flowbench.leaderboard.board import numbers, words
from flowbench.leaderboard.board.ranking import Like
from flowbench.leaderboard.board.table import Board, Column, Group, Published, Row
from flowbench.leaderboard.build.evidence import Method, hardware
from flowbench.leaderboard.build.standing import Chosen, Pair
from flowbench.store.records import AttemptRow, MeasurementRow
from flowbench.suite.schema import OurValue

OTHERS = "Other models"
"""The group of rows whose plugin says no family."""


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
    role: Role
    is_text: bool = False
    ours: OurValue | None = None
    model: str = ""
    method: Method | None = None
    published: Published | None = None
    theirs: Like = field(default_factory=Like)
    apart: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def of(cls, column: Column, **fields: Any) -> FrameCell:
        """A cell that is as its column says, but for the fields given."""
        shared = ("dataset", "metric", "direction", "decimals", "role")
        of_column = {name: getattr(column, name) for name in shared}
        return cls(**{"contest": (column.key,), **of_column, **fields})


@dataclass(frozen=True, kw_only=True)
class FrameRow:
    """A row to be filled.

    Attributes:
        row: What it says whatever fills it.
        cells: One for each column.
        group: Name of its group.
    """

    row: Row
    cells: tuple[FrameCell, ...]
    group: str = ""

    @property
    def methods(self) -> dict[Pair, Method]:
        """The runs behind it, by data set and what ran."""
        return {(c.dataset, c.model): c.method for c in self.cells if c.method is not None}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A board to be filled.

    Attributes:
        board: What it says whatever fills it, with empty groups.
        rows: Its rows.
        noun: What a row is.
        best_first: Rows are sorted by the first column, and groups by the best of their rows;
            otherwise both stay in order.
        metrics: What the command of a row measures; None for what its runs were asked for.
        chosen: How the runs were chosen, where there were others.
    """

    board: Board
    rows: Sequence[FrameRow]
    noun: str = "method"
    best_first: bool = False
    metrics: Sequence[str] | None = None
    chosen: Chosen | None = None

    @property
    def records(self) -> list[AttemptRow]:
        """All runs behind it, each once."""
        # By identity: a method stands in several cells, and is not to be counted for each.
        methods = {id(m): m for row in self.rows for m in row.methods.values()}
        return [record for method in methods.values() for record in method.records]


def by_family(rows: Sequence[FrameRow]) -> tuple[list[FrameRow], tuple[Group, ...]]:
    """Groups the rows of a board of ours by the kind of model, if there is more than one.

    Rows of which no run says it have a group of their own.

    Returns:
        The rows, and their groups in the order in which rows name them.
    """
    families = [next((m.family for m in row.methods.values() if m.family), "") for row in rows]
    if len({family for family in families if family}) < 2:
        return list(rows), (Group(name=""),)
    names = [family or OTHERS for family in families]
    grouped = [replace(row, group=name) for row, name in zip(rows, names, strict=True)]
    return grouped, tuple(Group(name=name) for name in dict.fromkeys(names))


# --- words that makers share ----------------------------------------------------------------------


def quantity(measured: MeasurementRow | None) -> dict[str, Any]:
    """What a column says of the quantity that it shows, as arguments of `Column`."""
    if measured is None:
        return {"unit": ""}
    _, unit = numbers.scale(measured.unit)
    axis = words.lower_first(words.with_unit(measured.short or "", unit, ", "))
    kind = {"role": measured.role, "scale": measured.scale}
    return {"title": measured.label, "axis": axis, "unit": unit, **kind}


def shared_unit(columns: Sequence[Column]) -> str:
    """The quantity that all columns show, with its direction; empty if they differ."""
    first = columns[0]
    better = words.better(first.direction)
    same = len({(column.metric, column.direction) for column in columns}) == 1
    quantity = words.with_unit(first.title, first.unit, " in ")
    return f"{quantity}, {better}" if same and first.title and better else ""


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
