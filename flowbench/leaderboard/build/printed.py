"""The paper's part of a cell: printed strings, ranked among their like."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from math import prod

from flowbench.api.specs import Direction
from flowbench.leaderboard.board.ranking import Contender, Like, Outcome, Place, rank
from flowbench.leaderboard.board.table import Published
from flowbench.leaderboard.build.notes import Notes
from flowbench.suite.published import PublishedColumn, PublishedTable, PublishedValue

STARS = 5
_SIGNS = {"~": "~", "<=": "≤", ">=": "≥", "<": "<", ">": ">"}
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")


def published(
    value: PublishedValue,
    column: PublishedColumn,
    *,
    spread: PublishedValue | None = None,
    device_hours: float | None = None,
) -> Published:
    """A printed value as a board shows it.

    Args:
        value: The value.
        column: Its column.
        spread: What the paper prints after it as ±.
        device_hours: What the paper says the training cost.

    Returns:
        The paper's part of a cell, without a place.
    """
    number = float(value.value) if _NUMBER.fullmatch(value.value) else None
    text = value.value
    if value.qualifier == "n/a":
        text = "n/a"
    elif column.type == "check":
        text = "✓" if number else "×"
    elif column.type == "stars" and number is not None:
        text = "★" * int(number) + "☆" * (STARS - int(number))
    elif value.qualifier == "x":
        text = f"{text}×"
    text += column.suffix if value.value else ""
    return Published(
        text=f"{text} ±{spread.value}" if spread is not None else text,
        sign=_SIGNS.get(value.qualifier, ""),
        value=number,
        remark=value.note,
        device_hours=device_hours,
    )


def rank_published(
    cells: Mapping[str, tuple[Published, Like]], direction: Direction
) -> tuple[Place, ...]:
    """Ranks the printed values of one column among their like; words have no place."""
    contenders = [
        Contender(row=row, like=like, outcomes=(Outcome(value=cell.value),))
        for row, (cell, like) in cells.items()
        if cell.value is not None
    ]
    # As printed: papers state no interval, and print in bold what is best.
    return rank(contenders, direction, "exact")


def placed(cell: Published, place: Place, direction: Direction, notes: Notes) -> Published:
    """A printed value with its place.

    What is unlike most others of its column has a note that says what sets them apart.
    """
    if direction == "none":
        return cell
    apart = "; ".join(f"{fact} is {here}, not {there}" for fact, here, there in place.unlike)
    return replace(
        cell,
        rank=place.label,
        best=place.best,
        unlike=bool(place.unlike),
        note=notes.letter(f"Not ranked with the other published values: {apart}." if apart else ""),
    )


def costs(table: PublishedTable) -> dict[tuple[str, str, str], float]:
    """What the trainings of a table cost, where it states devices and hours.

    Returns:
        Device-hours by method id, variant and data set.
    """
    found: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for value in table.values:
        metric = table.metric(value.metric)
        if metric.states in ("devices", "hours") and value.qualifier in ("", "~"):
            training = (value.model_plugin, value.variant, value.dataset)
            found[training][metric.states] = float(value.value) * metric.per
    return {training: prod(parts.values()) for training, parts in found.items() if len(parts) == 2}
