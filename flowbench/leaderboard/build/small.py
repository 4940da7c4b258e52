"""The small counterparts of a published table's rows: one more column, never ranked with the rest.

They are runs of claims: other data and another budget than the paper's, so that nothing but the
order of rows can be compared. How far it agrees is said by Kendall's tau, one for each seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from flowbench.leaderboard.board import numbers, words
from flowbench.leaderboard.board.ranking import half_width
from flowbench.leaderboard.board.table import Board, Cell, Column, Row
from flowbench.leaderboard.build.claimed import runs_of
from flowbench.leaderboard.build.details import details
from flowbench.leaderboard.build.evidence import Method, Source, measured_value
from flowbench.leaderboard.build.notes import next_letter
from flowbench.suite.claims import load_claims
from flowbench.suite.schema import SmallScale

BySeed = dict[int, float]


def with_small(board: Board, small: SmallScale, source: Source) -> Board:
    """Adds the column, if any of its runs has a value.

    Args:
        board: A board that mirrors a published table.
        small: Which runs are whose counterparts.
        source: Records.
    """
    file = load_claims()
    found = {label: runs_of(file, source, run, small.dataset) for label, run in small.runs.items()}
    methods = {label: method for label, method in found.items() if method is not None}
    by_label = {label: _values(method, small.metric) for label, method in methods.items()}
    by_label = {label: values for label, values in by_label.items() if values}
    if not by_label:
        return board
    some = next(iter(methods.values()))
    measured = some.measured(small.metric)
    unit = measured.unit if measured else ""
    decimals = numbers.decimals_for(
        [v for values in by_label.values() for v in values.values()], unit
    )
    letter = next_letter(board.notes)
    budgets = sorted({words.budget(method.first.job.budget) for method in methods.values()})
    detail = f"{small.dataset}, {' and '.join(budgets)}"
    column = Column(
        key="small",
        label="Small counterpart",
        detail=detail,
        dataset=small.dataset,
        metric=small.metric,
        unit=unit,
        direction="none",
        decimals=decimals,
    )

    def row_with(row: Row) -> Row:
        values = by_label.get(row.name)
        if values is None:
            return replace(row, cells=(*row.cells, Cell()))
        method = methods[row.name]
        mean, half = fmean(values.values()), half_width([*values.values()])
        spread = "" if half is None else f"{numbers.interval(half, decimals)}, "
        protocol = measured.protocol if measured else {}
        cell = Cell(
            value=numbers.number(mean, decimals),
            sign=words.sign(protocol, "lower"),
            interval=f"{spread}n={len(values)}",
            status="ok",
            unlike=True,
            note=letter,
            mean=mean,
            half_width=half,
            n=len(values),
            model=method.name,
        )
        behind = replace(details(method, source.contents), model=f"small: {method.name}")
        return replace(row, cells=(*row.cells, cell), details=(*row.details, behind))

    groups = [replace(group, rows=tuple(map(row_with, group.rows))) for group in board.groups]
    place = [c.key for c in board.columns].index(small.column)
    pairs = [
        (printed.value, by_label[row.name])
        for row in board.rows
        if row.name in by_label and (printed := row.cells[place].published) is not None
    ]
    note = (
        f"Of {small.dataset} and {' and '.join(budgets)}, models of that size: other data and "
        f"another budget than the paper’s, ranked with nothing. {_agreement(pairs)}"
    )
    return replace(
        board,
        columns=(*board.columns, column),
        groups=tuple(groups),
        notes=(*board.notes, (letter, note.strip())),
    )


def _values(method: Method, metric: str) -> BySeed:
    found = ((r.job.seed, measured_value(r, metric)) for r in method.ended_well)
    return {seed: m.value for seed, m in found if m is not None and m.value is not None}


def _agreement(pairs: Sequence[tuple[float | None, BySeed]]) -> str:
    """How far the order agrees with the published one, over the seeds that all rows have."""
    from scipy.stats import kendalltau

    whole = [(published, values) for published, values in pairs if published is not None]
    if len(whole) < 3:
        return ""
    seeds = sorted(set.intersection(*(set(values) for _, values in whole)))
    published = [one for one, _ in whole]
    taus = [float(kendalltau(published, [v[s] for _, v in whole]).statistic) for s in seeds]
    taus = [tau for tau in taus if not math.isnan(tau)]  # of rows that are all alike
    half = half_width(taus)
    if half is None:
        return ""
    mean = fmean(taus)
    low, high = (numbers.signed(max(-1.0, min(1.0, mean + side * half)), 2) for side in (-1, 1))
    return (
        f"The order of the {len(whole)} rows agrees with the published one by a Kendall’s tau of "
        f"{numbers.signed(mean, 2)}, 95 % interval {low} to {high} over {len(taus)} seeds "
        "(1: the same order, −1: the reverse)."
    )
