"""Lays the store's records out as boards: one for each data set and budget.

A board's columns are what was measured, likelihoods first, then costs; its rows are methods, the
best first.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from flowbench.api.specs import Direction, is_main_value
from flowbench.leaderboard import numbers, words
from flowbench.leaderboard.cells import our_cell, our_places
from flowbench.leaderboard.details import details
from flowbench.leaderboard.evidence import Method, Source, hardware, methods, values
from flowbench.leaderboard.notes import Notes
from flowbench.leaderboard.ranking import Place
from flowbench.leaderboard.rows import contract_of, latency_s
from flowbench.leaderboard.table import Board, Cell, Column, Group, Row
from flowbench.store.records import AttemptRow

MAX_COLUMNS = 6  # beside the method: what fits a laptop's width with the rail

# What a column is called, what stands under it if not the unit, and whether its best is worth a
# mark: costs are the price of a result, not a contest.
_LAYOUT = {
    "bpd": ("Bits per dim", "test", True),
    "nll": ("NLL", "nats, test", True),
    "nll_noisy": ("NLL, noisy", "nats, test", True),
    "fid": ("FID", "", True),
    "fd-digits-cnn": ("FD", "digits-cnn", True),
    "c2st": ("C2ST", "", True),
    "params": ("Parameters", "", False),
    "device_hours": ("Device-hours", "", False),
    "sampling_latency": ("Latency", None, True),
    "sampling_throughput": ("Throughput", None, True),
    "steps": ("Steps", "", False),
}
_TITLES = {"bits/dim": "Bits per dimension", "nats": "Negative log-likelihood"}


def build_boards(source: Source) -> list[Board]:
    """Lays out a board for each data set and budget.

    Args:
        source: Records, and what is needed to compare them.

    Returns:
        The boards, by data set and budget.
    """
    by_board: dict[tuple[str, str], list[AttemptRow]] = defaultdict(list)
    for record in source.records:
        by_board[record.job.dataset, record.job.budget].append(record)
    return [_board(source, records) for _, records in sorted(by_board.items())]


def _board(source: Source, records: Sequence[AttemptRow]) -> Board:
    rows = methods(records, source.log_prob)
    columns = [_column(rows, name) for name in _chosen_names(rows)]
    failing = frozenset(method.key for method in rows if source.fails_contract(method))
    places = {column.key: _places(rows, column, failing) for column in columns}
    rows = _best_first(rows, places[columns[0].key], columns[0].direction)
    notes = Notes()
    usual = _usual_hardware(records)
    table = tuple(
        Row(
            key=f"row-{index}",
            name=method.name,
            sub=_sub(method, usual),
            badges=source.badges(method),
            cells=tuple(_cells(method, columns, places, notes, failing)),
            details=details(method, source.contents),
            model=method.name,
            contract=contract_of(source, method),
            num_parameters=method.first.num_parameters,
            latency_s=latency_s(method),
        )
        for index, method in enumerate(rows, start=1)
    )
    job = records[0].job
    return Board(
        slug=_slug(f"{job.dataset}-{job.budget}"),
        title=f"{_TITLES.get(columns[0].unit, columns[0].label)} on {job.dataset}",
        description=_description(records),
        facts=_facts(rows, records),
        columns=tuple(columns),
        groups=(Group(name="", rows=table),),
        notes=notes.letters(),
        budget=job.budget,
    )


# --- columns --------------------------------------------------------------------------------------


def _chosen_names(rows: Sequence[Method]) -> list[str]:
    """Names of the columns: known ones in the order of the layout, others as they come."""
    main: dict[str, None] = {}
    for record in (record for method in rows for record in method.records):
        for name, m in values(record).items():
            if m.value is not None and is_main_value(m.metric, name):
                main[name] = None
    known = [name for name in _LAYOUT if name in main][:MAX_COLUMNS]
    others = sorted(name for name in main if name not in _LAYOUT)
    # A metric that the layout does not know may be the one that matters: it goes after the
    # likelihoods, and as many are shown as there is room for.
    room = MAX_COLUMNS - len(known)
    lead = [name for name in known if name in ("bpd", "nll")]
    chosen = [*lead, *others[:room], *(name for name in known if name not in lead)]
    return chosen or ["bpd"]


def _column(rows: Sequence[Method], name: str) -> Column:
    found = [
        m
        for method in rows
        for record in method.records
        if (m := values(record).get(name)) is not None and m.value is not None
    ]
    record = rows[0].first
    stored = Counter((m.unit, m.direction) for m in found).most_common(1)
    unit, direction = stored[0][0] if stored else ("", "lower")
    factor, shown = numbers.scale(unit)
    label, detail, ranked = _LAYOUT.get(name, (name.replace("_", " "), None, True))
    return Column(
        key=f"{record.job.dataset}/{name}",
        label=label,
        detail=shown if detail is None else detail,
        dataset=record.job.dataset,
        metric=name,
        unit=shown,
        direction=direction if ranked else "none",
        decimals=numbers.decimals_for([m.value / factor for m in found if m.value], shown),
    )


# --- places ---------------------------------------------------------------------------------------


def _places(rows: Sequence[Method], column: Column, failing: frozenset[str]) -> dict[str, Place]:
    entries = [method.entry(method.key, column.metric) for method in rows]
    return our_places(entries, column.direction, failing)


def _cells(
    method: Method,
    columns: Sequence[Column],
    places: Mapping[str, Mapping[str, Place]],
    notes: Notes,
    failing: frozenset[str],
) -> Iterator[Cell]:
    for index, column in enumerate(columns):
        yield our_cell(
            method,
            column.metric,
            places[column.key][method.key],
            notes,
            decimals=column.decimals,
            ranked=column.direction != "none",
            first=index == 0,
            struck=method.key in failing,
        )


def _best_first(
    rows: Sequence[Method], places: Mapping[str, Place], direction: Direction
) -> list[Method]:
    sign = -1.0 if direction == "higher" else 1.0

    def order(method: Method) -> tuple[bool, float, str, str]:
        mean = places[method.key].mean
        return (mean is None, math.inf if mean is None else sign * mean, method.name, method.key)

    return sorted(rows, key=order)


# --- words of a row and a board -------------------------------------------------------------------


def _usual_hardware(records: Sequence[AttemptRow]) -> str | None:
    """What most runs ran on; rows say only what differs from it."""
    counts = Counter(said for r in records if (said := hardware(r)))
    return min(counts, key=lambda said: (-counts[said], said), default=None)


def _sub(method: Method, usual: str | None) -> str:
    record = method.first
    parts = [f"{key}={value}" for key, value in sorted(record.job.overrides.items())]
    parts.append(words.likelihood(record.likelihood))
    machine = hardware(record)
    if machine is not None and machine != usual:
        parts.append(machine)
    return "; ".join(part for part in parts if part)


def _facts(rows: Sequence[Method], records: Sequence[AttemptRow]) -> tuple[str, ...]:
    failed = sum(r.status not in ("ok", "skipped") for r in records)
    counted = [_count(len(rows), "method"), _count(len(records), "run")]
    return (*counted, f"{failed} failed") if failed else tuple(counted)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _description(records: Sequence[AttemptRow]) -> str:
    """One paragraph on what is compared, and how."""
    job = records[0].job
    facts = next((r.data for r in records if r.data), {})
    shape = words.shape(facts.get("event_shape", ()))
    data = f"{job.dataset} ({shape})" if shape else job.dataset
    machines = sorted({said for r in records if (said := hardware(r))})
    usual = _usual_hardware(records)
    where = f" on {usual}" if usual else ""
    tests = facts.get("num_test")
    on = f"{tests:,} test examples" if isinstance(tests, int) else "test data"
    text = (
        f"Every method was trained on {data} for {words.budget(job.budget)}{where}, then measured "
        f"on the same {on}, which nothing before had used."
    )
    if len(machines) > 1 and words.is_time_like(job.budget):
        text += " Rows that ran on other hardware say so, and are not ranked with the rest."
    return text


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "board"
