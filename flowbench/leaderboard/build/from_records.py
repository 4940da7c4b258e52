"""Lays out whatever is in the store: a board for each data set and budget.

Its columns are what was measured, qualities first; its rows are methods, the best first, grouped by
family where there is more than one.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from flowbench.api.specs import is_main_value
from flowbench.budget import Budget
from flowbench.leaderboard.board import numbers, words
from flowbench.leaderboard.board.table import Board, Column, Row
from flowbench.leaderboard.build.evidence import (
    SWEEP_HOURS,
    Method,
    Source,
    hardware,
    methods,
    sampled,
    usual_hardware,
    values,
    without_parts,
)
from flowbench.leaderboard.build.frame import Frame, FrameCell, FrameRow, by_family, quantity
from flowbench.store.records import AttemptRow, MeasurementRow
from flowbench.suite.schema import OurValue

MAX_COLUMNS = 6  # beside the method: what fits a laptop's width with the rail
_LEAST_COSTS = 2  # of these, where there are so many


def frames_of_records(source: Source) -> list[Frame]:
    """A frame for each data set and budget, sorted by these."""
    by_board: dict[tuple[str, str], list[AttemptRow]] = defaultdict(list)
    for record in source.records:
        by_board[record.job.dataset, record.job.budget].append(record)
    return [_frame(records, source) for _, records in sorted(by_board.items())]


def _frame(records: Sequence[AttemptRow], source: Source) -> Frame:
    job = records[0].job
    nothing = Column(
        key="", label="Value", dataset=job.dataset, metric="", unit="", direction="none", decimals=0
    )
    columns = tuple(_column(job.dataset, found) for found in _shown(records)) or (nothing,)
    board = Board(
        slug=re.sub(r"[^a-z0-9.]+", "-", f"{job.dataset}-{job.budget}".lower()).strip("-."),
        title=f"{columns[0].title or columns[0].label} on {job.dataset}",
        description=_description(records),
        columns=columns,
    )
    rows, groups = by_family([_row(m, columns) for m in methods(records, source.log_prob)])
    return Frame(board=replace(board, groups=groups), rows=rows, best_first=True)


def _row(method: Method, columns: Sequence[Column]) -> FrameRow:
    job = method.first.job
    about = [f"{key}={value}" for key, value in sorted(without_parts(job.overrides).items())]
    drawn = sampled(job.protocol.get("sample", {}))
    about += [f"sampled by {drawn}"] if drawn else []
    runs = {"model": method.name, "method": method}
    cells = (FrameCell.of(c, ours=OurValue(name=c.metric), **runs) for c in columns)
    return FrameRow(row=Row(name=method.name, sub="; ".join(about)), cells=tuple(cells))


def _shown(records: Sequence[AttemptRow]) -> Iterator[list[MeasurementRow]]:
    """The values that have a column: for each name what was measured.

    Qualities come first, in the order in which metrics are listed, then costs and counts; what is
    a witness alone has no column.
    """
    found: dict[str, list[MeasurementRow]] = defaultdict(list)
    for record in records:
        for name, m in values(record).items():
            if m.value is not None and m.role != "witness" and is_main_value(m.metric, name):
                found[name].append(m)
    qualities = [some for some in found.values() if some[0].role == "quality"]
    others = [some for some in found.values() if some[0].role != "quality"]
    # What it took to find a configuration stands before other counts, and is not left out.
    others.sort(key=lambda some: some[0].name != SWEEP_HOURS)
    # However many qualities there are, what they cost stays in sight.
    most = MAX_COLUMNS - min(_LEAST_COSTS, len(others))
    yield from qualities[:most]
    yield from others[: MAX_COLUMNS - len(qualities[:most])]


def _column(dataset: str, found: Sequence[MeasurementRow]) -> Column:
    """A column of the form that most of its values have."""
    # Plugins may change a unit between two releases; a column has one.
    forms = Counter((m.unit, m.direction) for m in found)
    unit, direction = forms.most_common(1)[0][0]
    first = next(m for m in found if (m.unit, m.direction) == (unit, direction))
    factor, shown = numbers.scale(unit)
    label = first.short or first.name
    apart = words.with_unit(label, shown, "\0").partition("\0")[2] and shown
    on_test = "test" if first.role == "quality" and first.split == "test" else ""
    decimals = first.decimals
    if decimals is None:
        decimals = numbers.decimals_for([m.value / factor for m in found if m.value], shown)
    return Column(
        key=f"{dataset}/{first.name}",
        label=label,
        detail=", ".join(part for part in (apart, on_test) if part),
        dataset=dataset,
        metric=first.name,
        direction="none" if first.role == "count" else direction,
        decimals=decimals,
        **quantity(first),
    )


def _description(records: Sequence[AttemptRow]) -> str:
    """One paragraph on what is compared, and how."""
    job = records[0].job
    facts = next((r.data for r in records if r.data), {})
    manifold = words.manifold(facts.get("manifold"))
    shape = manifold or words.shape(facts.get("event_shape", ()))
    data = f"{job.dataset} ({shape})" if shape else job.dataset
    usual, tests = usual_hardware(records), facts.get("num_test")
    where = f" on {usual}" if usual else ""
    on = f"{tests:,} test examples" if isinstance(tests, int) else "test data"
    text = (
        f"Every method was trained on {data} for {words.budget(job.budget)}{where}, then measured "
        f"on the same {on}, which nothing before had used."
    )
    if manifold:
        text += f" Densities are with respect to the volume of the {manifold}."
    several = len({name for r in records if (name := hardware(r))}) > 1
    if several and Budget.parse(job.budget).time_like:
        text += " Rows that ran on other hardware say so, and are not ranked with the rest."
    return text
