"""A cell: our value over seeds or words in its place, and how it compares with the paper's."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from flowbench.leaderboard.board import numbers, words
from flowbench.leaderboard.board.ranking import Place
from flowbench.leaderboard.board.table import Cell, Published
from flowbench.leaderboard.build.evidence import Method, hardware, whole_hours
from flowbench.leaderboard.build.frame import FrameCell
from flowbench.leaderboard.build.notes import Notes


def our_cell(asked: FrameCell, place: Place, notes: Notes, *, first: bool, struck: str) -> Cell:
    """Our part of a cell, without the published one.

    Args:
        asked: What belongs into it; it has runs.
        place: Its place in the contest.
        notes: The board's notes.
        first: The first cell of these runs, which says what became of those that failed as a whole.
        struck: Why the value is not to be trusted; empty if it is.
    """
    method, ours = asked.method, asked.ours
    if method is None or ours is None:
        return Cell()
    measured = method.measured(ours.name)
    if place.mean is None or measured is None:
        whole = place.status in {r.status for r in method.records}
        # A run that failed as a whole says so once and not in every column.
        text = words.status(place.status) if first or not whole else ""
        return Cell(words=text, status=place.status if text else "none")
    factor = numbers.scale(measured.unit)[0] * ours.per
    mean = place.mean / factor
    half = None if place.half_width is None else place.half_width / factor
    spread = f"{numbers.interval(half, asked.decimals)}, " if half is not None else ""
    return Cell(
        value=numbers.number(mean, asked.decimals),
        sign=words.sign(measured.protocol, measured.direction),
        interval="" if measured.role == "count" else f"{spread}n={place.n}",
        status="ok",
        rank="" if asked.direction == "none" else place.label,
        best=place.best,
        too_few=place.too_few,
        unlike=bool(place.unlike),
        struck=bool(struck),
        note=notes.letter(
            " ".join(filter(None, (struck, _note(place, first=first), _apart(asked))))
        ),
        mean=mean,
        half_width=half,
        n=place.n,
        device_hours=whole_hours(method.records),
    )


def text_cell(method: Method) -> Cell:
    """Our part of a cell of text: the hardware."""
    machine = hardware(method.first)
    return Cell(value=machine, status="ok") if machine else Cell()


def compared(cell: Cell, published: Published | None, asked: FrameCell) -> Cell:
    """Both parts of a cell, with what lies between them."""
    cell = replace(cell, published=published)
    if published is None or asked.method is None or cell.mean is None:
        return cell
    if published.value is not None and not asked.apart:
        gap = cell.mean - published.value
        difference = numbers.signed(gap, asked.decimals)
        cell = replace(cell, difference=difference, difference_value=gap)
    share = budget_share(cell)
    on_gpus = all(r.device_kind == "cuda" for r in asked.method.ended_well)
    # Hours of a CPU are no share of hours of a GPU; and a cost is not what the budget bought.
    if share is None or not on_gpus or asked.role != "quality":
        return cell
    return replace(cell, budget_share=percent(share))


def budget_share(cell: Cell) -> float | None:
    """Our device-hours as a share of the paper's; None where either is not known."""
    paper = cell.published.device_hours if cell.published else None
    return None if paper is None or cell.device_hours is None else cell.device_hours / paper


def percent(share: float) -> str:
    """A share in per cent, e.g. ``"0.8 %"``."""
    value = 100 * share
    if value < 0.01:
        return f"<0.01{numbers.NO_BREAK}%"
    decimals = 0 if value >= 10 else 1 if value >= 0.1 else 2
    return f"{value:,.{decimals}f}{numbers.NO_BREAK}%"


def _note(place: Place, *, first: bool) -> str:
    """What a reader must know of a value of ours, in sentences."""
    sentences = []
    if place.unlike:
        apart = "; ".join(f"{fact} is {here}, not {there}" for fact, here, there in place.unlike)
        sentences.append(f"Not ranked with the others: {apart}.")
    if place.failed and first:
        counts = sorted(Counter(place.failed).items())
        lost = ", ".join(f"{n} {words.status(status).lstrip('×– ')}" for status, n in counts)
        sentences.append(f"Mean of {place.n} of {place.n + len(place.failed)} runs; {lost}.")
    if place.too_few:
        why = (
            "one says nothing of what another would give"
            if place.n == 1
            else "the interval of the difference from the best contains 0, and is too wide to call "
            "them equal"
        )
        sentences.append(f"Too few runs to rank: {why}.")
    if place.by_examples:
        sentences.append(
            "Tied with the best by test sampling only: one run each, compared example by example."
        )
    return " ".join(sentences)


def _apart(asked: FrameCell) -> str:
    """Why our value must not be held against the printed one."""
    if asked.published is None or not asked.apart:
        return ""
    facts = (f"our {fact} is {ours}, the paper’s is {theirs}" for fact, ours, theirs in asked.apart)
    return f"Not compared with the published value: {'; '.join(facts)}."
