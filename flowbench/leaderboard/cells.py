"""Our part of a cell: a value over seeds with its interval and place, or words in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from flowbench.api.specs import Direction
from flowbench.leaderboard import numbers, words
from flowbench.leaderboard.evidence import Method, measured_value
from flowbench.leaderboard.notes import Notes
from flowbench.leaderboard.ranking import Entry, Place, rank
from flowbench.leaderboard.table import Cell
from flowbench.store.records import AttemptRow, MeasurementRow

_SECONDS_AN_HOUR = 3600.0


def our_places(
    entries: Sequence[Entry], direction: Direction, unranked: frozenset[str]
) -> dict[str, Place]:
    """Ranks entries of ours.

    Args:
        entries: One entry a row.
        direction: Which way is better.
        unranked: Rows that must have no place, since their model fails its contract.

    Returns:
        The place of each row.
    """
    contest = [entry for entry in entries if entry.row not in unranked]
    places = rank(contest, direction) + rank([e for e in entries if e.row in unranked], "none")
    return {place.row: place for place in places}


def our_cell(
    method: Method,
    name: str,
    place: Place,
    notes: Notes,
    *,
    decimals: int,
    ranked: bool,
    first: bool,
    struck: bool = False,
    per: float = 1.0,
    remark: str = "",
) -> Cell:
    """Lays out our part of a cell.

    Args:
        method: The runs.
        name: Name of the value.
        place: Its place in the column.
        notes: The board's notes.
        decimals: Decimals of the column.
        ranked: Whether the column is a contest.
        first: The row's first cell, which says what became of runs that failed as a whole.
        struck: The model fails its contract.
        per: What values are divided by.
        remark: What else a note on the value has to say.

    Returns:
        The cell, without a published part.
    """
    if place.mean is None:
        # A run that failed as a whole says so once, in the first column.
        whole = place.status in {r.status for r in method.records}
        said = words.status(place.status) if first or not whole else ""
        return Cell(words=said, status=place.status if said else "none", model=method.name)
    measured = _measured(method, name)
    factor = numbers.scale(measured.unit)[0] * per
    mean = place.mean / factor
    half = None if place.half_width is None else place.half_width / factor
    said = " ".join(part for part in (note_on(place, first=first), remark) if part)
    return Cell(
        value=numbers.number(mean, decimals),
        sign=words.sign(measured.protocol, measured.direction),
        interval=_interval(measured, half, decimals),
        status="ok",
        rank=place.label if ranked else "",
        best=place.best,
        unlike=bool(place.unlike),
        struck=struck,
        note=notes.letter(said),
        mean=mean,
        half_width=half,
        n=place.n,
        device_hours=device_hours(method.records),
        model=method.name,
    )


def device_hours(records: Sequence[AttemptRow]) -> float | None:
    """What training cost.

    Args:
        records: Runs.

    Returns:
        Mean device-hours of those that ended well; None if none did.
    """
    hours = [r.charged_s * r.num_devices / _SECONDS_AN_HOUR for r in records if r.status == "ok"]
    return fmean(hours) if hours and max(hours) > 0 else None


def _measured(method: Method, name: str) -> MeasurementRow:
    """The measurement that says what a cell's value is."""
    found = (measured_value(record, name) for record in method.records if record.status == "ok")
    return next(m for m in found if m is not None and m.value is not None)


def _interval(measured: MeasurementRow, half: float | None, decimals: int) -> str:
    """The spread over seeds, of values that vary with the seed: those measured on data."""
    if measured.split is None:
        return ""
    return "n=1" if half is None else numbers.interval(half, decimals)


def note_on(place: Place, *, first: bool) -> str:
    """What a reader must know of a value of ours.

    Args:
        place: Its place.
        first: The row's first cell.

    Returns:
        Sentences; empty if there is nothing to know.
    """
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
