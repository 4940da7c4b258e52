"""How rows and cells stand on a page: what each shows, and what sorting and filtering go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowbench.api.specs import Direction
from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.ranking import better_than
from flowbench.leaderboard.board.table import Board, Cell, Group, Row
from flowbench.leaderboard.render.html.columns import decimals, numbers_of, split


@dataclass(frozen=True, kw_only=True)
class CellView:
    """A cell on the page.

    Attributes:
        data: What sorting goes by: values and places, by the names of data attributes.
        lines_up: Its numbers line up with those above and below.
        printed: The published number, what follows it, and the class that pads its decimals.
        ours: The same of ours.
    """

    cell: Cell
    data: Mapping[str, str]
    lines_up: bool
    printed: tuple[str, str, str]
    ours: tuple[str, str, str]


def there(**found: bool) -> list[str]:
    """The names of what there is."""
    return [name for name, is_there in found.items() if is_there]


def tally(group: Group, board: Board) -> str:
    """How many rows a group has, and how many of them have a value of ours."""
    count = words.count(len(group.rows), board.noun)
    done = sum(any(cell.value for cell in row.cells) for row in group.rows)
    mirrored = any(cell.published for row in group.rows for cell in row.cells)
    return f"{count}, {done} reproduced" if mirrored and board.has_ours else count


def statuses(row: Row) -> list[str]:
    """What a row can be filtered by."""
    cells, printed = row.cells, [cell.published for cell in row.cells if cell.published]
    has_value = any(cell.value for cell in cells)
    apart = any(c.unlike or c.struck or c.too_few for c in cells)
    return there(
        reproduced=has_value,
        published=bool(printed) and not has_value,
        failed=any(cell.words.startswith("×") for cell in cells),
        none=any(cell.words.startswith("–") for cell in cells),
        one=any(cell.interval == "n=1" for cell in cells),
        unranked=apart or any(p.unlike for p in printed),
    )


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
            view = CellView(
                cell=cell,
                data=_sort_data(cell, by_difference),
                lines_up=lines_up,
                printed=_parts(cell.published.text if cell.published else "", most),
                ours=_parts(cell.value, most),
            )
            views[row.key].append(view)
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
