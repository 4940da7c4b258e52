"""Lays the store's records out as boards: one for each data set and budget.

A board's columns are what was measured, likelihoods first, then costs; its rows are methods, the
best first.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flowbench.api.specs import Direction
from flowbench.leaderboard import numbers, words
from flowbench.leaderboard.details import details
from flowbench.leaderboard.evidence import Method, hardware, methods, values
from flowbench.leaderboard.ranking import Entry, Like, Place, Run, rank
from flowbench.leaderboard.table import Board, Cell, Column, Group, Row
from flowbench.store.attempt_files import AttemptContents
from flowbench.store.records import AttemptRow, MeasurementRow

MAX_COLUMNS = 6  # beside the method: what fits a laptop's width with the rail

# What a column is called, what stands under it if not the unit, and whether its best is worth a
# mark: costs are the price of a result, not a contest.
_LAYOUT = {
    "bpd": ("Bits per dim", "test", True),
    "nll": ("NLL", "nats, test", True),
    "params": ("Parameters", "", False),
    "device_hours": ("Device-hours", "", False),
    "sampling_latency": ("Latency", None, True),
    "sampling_throughput": ("Throughput", None, True),
    "steps": ("Steps", "", False),
}
_TITLES = {"bits/dim": "Bits per dimension", "nats": "Negative log-likelihood"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """What boards are made from.

    Attributes:
        records: The attempt that stands for each job.
        log_prob: Per-example test log-likelihoods in nats, by attempt id.
        contents: Attempts in full by id, where the board shows details.
    """

    records: Sequence[AttemptRow]
    log_prob: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    contents: Mapping[str, AttemptContents] = field(default_factory=dict)


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
    places = {column.key: _places(rows, column) for column in columns}
    rows = _best_first(rows, places[columns[0].key], columns[0].direction)
    notes = _Notes()
    usual = _usual_hardware(records)
    table = tuple(
        Row(
            key=f"row-{index}",
            name=method.name,
            sub=_sub(method, usual),
            badges=_badges(method),
            cells=tuple(
                _cell(method, column, places[column.key][method.key], notes, first=first)
                for first, column in zip((True, *(False,) * len(columns)), columns, strict=False)
            ),
            details=details(method, source.contents),
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
        notes=tuple(notes.letters()),
        budget=job.budget,
    )


# --- columns --------------------------------------------------------------------------------------


def _chosen_names(rows: Sequence[Method]) -> list[str]:
    """Names of the columns: known ones in the order of the layout, others as they come."""
    main: dict[str, None] = {}
    for record in (record for method in rows for record in method.records):
        for name, m in values(record).items():
            if m.value is not None and m.metric == name:
                main[name] = None
    known = [name for name in _LAYOUT if name in main]
    others = sorted(name for name in main if name not in _LAYOUT)
    # A metric that the layout does not know may be the one that matters: it goes after the
    # likelihoods, and as many are shown as there is room for.
    room = max(0, MAX_COLUMNS - len(known))
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


def _places(rows: Sequence[Method], column: Column) -> dict[str, Place]:
    entries = [_entry(method, column.metric) for method in rows]
    return {place.row: place for place in rank(entries, column.direction)}


def _entry(method: Method, name: str) -> Entry:
    """A row's entry; of runs that are not alike, the largest group of like ones stands for it."""
    pairs = method.runs(name)
    counts = Counter(like for like, run in pairs if run.value is not None)
    chosen = min(counts, key=lambda like: (-counts[like], like.facts), default=Like())
    runs = tuple(
        run if run.value is None or like == chosen else Run(value=None, status="measured otherwise")
        for like, run in pairs
    )
    return Entry(row=method.key, like=chosen, runs=runs)


def _best_first(
    rows: Sequence[Method], places: Mapping[str, Place], direction: Direction
) -> list[Method]:
    sign = -1.0 if direction == "higher" else 1.0

    def order(method: Method) -> tuple[bool, float, str, str]:
        mean = places[method.key].mean
        return (mean is None, math.inf if mean is None else sign * mean, method.name, method.key)

    return sorted(rows, key=order)


# --- cells ----------------------------------------------------------------------------------------


class _Notes:
    """Letters for notes, in the order in which the table comes to them."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def letter(self, text: str) -> str:
        """The letter of a note."""
        if text not in self._texts:
            self._texts.append(text)
        return _letter(self._texts.index(text))

    def letters(self) -> list[tuple[str, str]]:
        """All letters with their notes."""
        return [(_letter(i), text) for i, text in enumerate(self._texts)]


def _letter(index: int) -> str:
    """``a`` to ``z``, then ``aa``, ``ab``, ..."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    head, tail = divmod(index, len(alphabet))
    return (_letter(head - 1) if head else "") + alphabet[tail]


def _cell(method: Method, column: Column, place: Place, notes: _Notes, *, first: bool) -> Cell:
    if place.mean is None:
        # A run that failed as a whole says so once, in the first column.
        whole = place.status in {r.status for r in method.records}
        said = words.status(place.status) if first or not whole else ""
        return Cell(words=said, status=place.status if said else "none")
    measured = _measured(method, column.metric)
    factor, _ = numbers.scale(measured.unit)
    mean = place.mean / factor
    half = None if place.half_width is None else place.half_width / factor
    note = _note(place, first=first)
    return Cell(
        value=numbers.number(mean, column.decimals),
        sign=words.sign(measured.protocol, measured.direction),
        interval=_interval(measured, half, column),
        status="ok",
        rank=place.label if column.direction != "none" else "",
        best=place.best,
        unlike=bool(place.unlike),
        note=notes.letter(note) if note else "",
        mean=mean,
        half_width=half,
        n=place.n,
    )


def _measured(method: Method, name: str) -> MeasurementRow:
    """The measurement that says what a cell's value is."""
    found = (values(record).get(name) for record in method.records if record.status == "ok")
    return next(m for m in found if m is not None and m.value is not None)


def _interval(measured: MeasurementRow, half: float | None, column: Column) -> str:
    """The spread over seeds, of values that vary with the seed: those measured on data."""
    if measured.split is None or column.direction == "none":
        return ""
    return "n=1" if half is None else numbers.interval(half, column.decimals)


def _note(place: Place, *, first: bool) -> str:
    said = []
    if place.unlike:
        apart = "; ".join(f"{fact} is {here}, not {there}" for fact, here, there in place.unlike)
        said.append(f"Not ranked with the others: {apart}.")
    if place.failed and first:
        counts = Counter(place.failed)
        lost = ", ".join(
            f"{count} {words.status(status).lstrip('×– ')}"
            for status, count in sorted(counts.items())
        )
        said.append(f"Mean of {place.n} of {place.n + len(place.failed)} runs; {lost}.")
    if place.by_examples:
        said.append(
            "Tied with the best by test sampling only: one run each, compared example by example."
        )
    return " ".join(said)


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


def _badges(method: Method) -> tuple[str, ...]:
    codes = {r.code_sha256 for r in method.records if r.status == "ok"}
    return ("mixed code",) if len(codes) > 1 else ()


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
