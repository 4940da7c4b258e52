"""How rows and cells stand on a page: what each shows, and what sorting and filtering go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowbench.api.specs import Direction
from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.ranking import better_than
from flowbench.leaderboard.board.table import Board, Cell, Group, Row
from flowbench.leaderboard.render.html.columns import decimals, numbers_of, split

_SHORT = {"× out of memory": "× oom", "– unavailable": "– n/a", "× timed out": "× time"}
_SPOKEN = {"✓": "yes", "×": "no"}

STATUSES = {
    "reproduced": "reproduced",
    "published": "published only",
    "failed": "failed",
    "none": "no data",
    "one": "one run (n=1)",
    "unranked": "unranked",
}
"""What rows can be filtered by."""


@dataclass(frozen=True, kw_only=True)
class CellView:
    """A cell on the page.

    Attributes:
        cell: The cell.
        kind: Classes of its element: its column's, and what it holds.
        data: What sorting goes by: values and places, by the names of data attributes.
        printed: The published number, what follows it, and the class that pads its decimals.
        ours: The same of ours.
        spoken: Words for a published sign, such as a tick.
        short: Words in place of a value, for phones.
    """

    cell: Cell
    kind: str
    data: Mapping[str, str]
    printed: tuple[str, str, str]
    ours: tuple[str, str, str]
    spoken: str
    short: str


def tally(group: Group, board: Board) -> str:
    """How many rows a group has, and how many of them have a value of ours."""
    count = words.count(len(group.rows), board.noun)
    done = sum(any(cell.value for cell in row.cells) for row in group.rows)
    mirrored = any(cell.published for row in group.rows for cell in row.cells)
    return f"{count}, {done} reproduced" if mirrored and board.has_ours else count


def statuses(row: Row) -> list[str]:
    """What a row can be filtered by: keys of `STATUSES`."""
    cells, printed = row.cells, [cell.published for cell in row.cells if cell.published]
    has_value = any(cell.value for cell in cells)
    holds = {
        "reproduced": has_value,
        "published": bool(printed) and not has_value,
        "failed": any(cell.words.startswith("×") for cell in cells),
        "none": any(cell.words.startswith("–") for cell in cells),
        "one": any(cell.interval == "n=1" for cell in cells),
        "unranked": any(c.unlike or c.struck or c.too_few for c in cells)
        or any(p.unlike for p in printed),
    }
    return [name for name, there in holds.items() if there]


def cell_views(board: Board) -> dict[str, list[CellView]]:
    """The cells of each row, by the row's key."""
    rows = list(board.rows)
    views: dict[str, list[CellView]] = {row.key: [] for row in rows}
    for place, column in enumerate(board.columns):
        cells = [row.cells[place] for row in rows]
        lines_up = column.kind == "number" and board.layout != "list"
        found = [decimals(n) for cell in cells for n in numbers_of(cell)] if lines_up else []
        most = max(found, default=(0, False)) if lines_up else None
        places = _places([cell.difference_value for cell in cells], column.direction)
        for row, cell, by_difference in zip(rows, cells, places, strict=True):
            text = cell.published.text if cell.published else ""
            stars = f"{text.count('★')} of 5" if "★" in text else ""
            views[row.key].append(
                CellView(
                    cell=cell,
                    kind=f"c{place + 1}" + ("" if lines_up else " words"),
                    data=_sort_data(cell, by_difference),
                    printed=_parts(text, most),
                    ours=_parts(cell.value, most),
                    spoken=_SPOKEN.get(text) or stars,
                    short=_SHORT.get(cell.words, ""),
                )
            )
    return views


def _parts(text: str, most: tuple[int, bool] | None) -> tuple[str, str, str]:
    """A value's number, what follows it, and the class that makes up for decimals it lacks."""
    head, tail = split(text) if most else ("", text)
    if most is None or not head or decimals(head) == most:
        return head, tail, ""
    count, point = decimals(head)
    return head, tail, f" f{most[0] - count}" if point else f" f{most[0]}p"


def _sort_data(cell: Cell, by_difference: str) -> dict[str, str]:
    """Values to sort by and places to show: published, reproduced, difference."""
    p, d = cell.published, cell.difference_value
    given = {
        "p": "" if p is None else p.text if p.value is None else f"{p.value:.12g}",
        "pk": p.rank if p else "",
        "r": "" if cell.mean is None else f"{cell.mean:.12g}",
        "rk": cell.rank,
        "d": "" if d is None else f"{d:.12g}",
        "dk": by_difference,
    }
    return {name: text for name, text in given.items() if text}


def _places(values: Sequence[float | None], direction: Direction) -> list[str]:
    """Places by the numbers alone; equal ones share one."""
    had = [value for value in values if value is not None]
    if direction == "none" or len(had) < 2:
        return ["" for _ in values]

    def place(value: float) -> str:
        better = sum(better_than(other, value, direction) for other in had)
        return f"{1 + better}" + "=" * (had.count(value) > 1)

    return ["" if value is None else place(value) for value in values]
