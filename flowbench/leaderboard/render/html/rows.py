"""How rows and cells stand on a page: what each shows, and what sorting and filtering go by."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flowbench.api.specs import Direction
from flowbench.leaderboard import words
from flowbench.leaderboard.ranking import better_than
from flowbench.leaderboard.render.html.columns import decimals, numbers_of, split
from flowbench.leaderboard.table import Board, Cell, Column, Group, Row

_SHORT = {"× out of memory": "× oom", "– unavailable": "– n/a", "× timed out": "× time"}
_SPOKEN = {"✓": "yes", "×": "no"}
_MAX_ID = 40
_FEW = 3  # where more than one row in three is the paper's own, none stands out

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


@dataclass(frozen=True, kw_only=True)
class RowView:
    """A row on the page.

    Attributes:
        row: The row.
        id: Its id, made of its name, so that links survive another order.
        own: It stands out as the paper's own, among others' rows.
        statuses: Keys of `STATUSES` that hold for it.
        cells: Its cells.
    """

    row: Row
    id: str
    own: bool
    statuses: tuple[str, ...]
    cells: tuple[CellView, ...]


@dataclass(frozen=True, kw_only=True)
class GroupView:
    """A group on the page.

    Attributes:
        group: The group.
        number: Its place, which gives its shape.
        headed: Its name stands above its rows.
        tally: How many methods, and how many of them reproduced.
        rows: Its rows.
    """

    group: Group
    number: int
    headed: bool
    tally: str
    rows: tuple[RowView, ...]


def group_views(board: Board) -> list[GroupView]:
    """Lays out all rows.

    Args:
        board: The board.

    Returns:
        The groups in order.
    """
    ids = row_ids(board)
    cells = _cell_views(board)
    rows = list(board.rows)
    few = _FEW * sum(row.own for row in rows) <= len(rows)
    return [
        GroupView(
            group=group,
            number=number,
            headed=bool(group.name) and group.printed and not board.group_header,
            tally=_tally(group, board.noun, reproduced=board.has_ours),
            rows=tuple(
                RowView(
                    row=row,
                    id=ids[row.key],
                    own=row.own and few,
                    statuses=_statuses(row),
                    cells=tuple(cells[row.key]),
                )
                for row in group.rows
            ),
        )
        for number, group in enumerate(board.groups)
    ]


def row_ids(board: Board) -> dict[str, str]:
    """An id for each row: its name in plain letters, numbered where names repeat.

    Args:
        board: The board.

    Returns:
        Ids by the rows' keys.
    """
    taken: set[str] = set()
    ids = {}
    for row in board.rows:
        plain = re.sub(r"[^a-z0-9]+", "-", words.printable(row.name).lower()).strip("-")
        name = stem = f"m-{plain[:_MAX_ID] or 'row'}"
        count = 1
        while name in taken:
            count += 1
            name = f"{stem}-{count}"
        taken.add(name)
        ids[row.key] = name
    return ids


def _tally(group: Group, what: str, *, reproduced: bool) -> str:
    count = f"{len(group.rows)} {what}{'' if len(group.rows) == 1 else 's'}"
    done = sum(any(cell.value for cell in row.cells) for row in group.rows)
    mirrored = any(cell.published for row in group.rows for cell in row.cells)
    return f"{count}, {done} reproduced" if mirrored and reproduced else count


def _statuses(row: Row) -> tuple[str, ...]:
    has_value = any(cell.value for cell in row.cells)
    tests = {
        "reproduced": has_value,
        "published": not has_value and any(cell.published for cell in row.cells),
        "failed": any(cell.words.startswith("×") for cell in row.cells),
        "none": any(cell.words.startswith("–") for cell in row.cells),
        "one": any(cell.interval == "n=1" for cell in row.cells),
        "unranked": any(
            cell.unlike or cell.struck or (cell.published is not None and cell.published.unlike)
            for cell in row.cells
        ),
    }
    return tuple(name for name, holds in tests.items() if holds)


def _cell_views(board: Board) -> dict[str, list[CellView]]:
    """The cells of each row, by the row's key."""
    rows = list(board.rows)
    views: dict[str, list[CellView]] = {row.key: [] for row in rows}
    for place, column in enumerate(board.columns):
        cells = [row.cells[place] for row in rows]
        most = max((decimals(n) for cell in cells for n in numbers_of(cell)), default=(0, False))
        lines_up = column.kind == "number" and board.layout != "list"
        for row, cell, data in zip(rows, cells, _sort_data(cells, column), strict=True):
            kind = f"c{place + 1}" + ("" if lines_up else " words")
            views[row.key].append(_cell_view(cell, kind, data, most if lines_up else None))
    return views


def _cell_view(
    cell: Cell, kind: str, data: Mapping[str, str], most: tuple[int, bool] | None
) -> CellView:
    text = cell.published.text if cell.published else ""
    return CellView(
        cell=cell,
        kind=kind,
        data=data,
        printed=_parts(text, most),
        ours=_parts(cell.value, most),
        spoken=_SPOKEN.get(text) or (f"{text.count('★')} of 5" if "★" in text else ""),
        short=_SHORT.get(cell.words, ""),
    )


def _parts(text: str, most: tuple[int, bool] | None) -> tuple[str, str, str]:
    """A value's number, what follows it, and the class that makes up for decimals it lacks."""
    if most is None:
        return "", text, ""
    head, tail = split(text)
    if not head or decimals(head) == most:
        return head, tail, ""
    count, point = decimals(head)
    return head, tail, f" f{most[0] - count}" if point else f" f{most[0]}p"


def _sort_data(cells: Sequence[Cell], column: Column) -> list[dict[str, str]]:
    """Values to sort by and places to show, for each cell: published, reproduced, difference."""
    differences = [cell.difference_value for cell in cells]
    found = []
    for cell, d, place in zip(
        cells, differences, _places(differences, column.direction), strict=True
    ):
        p = cell.published
        given = {
            "p": "" if p is None else p.text if p.value is None else f"{p.value:.12g}",
            "pk": "" if p is None else p.rank,
            "r": "" if cell.mean is None else f"{cell.mean:.12g}",
            "rk": cell.rank,
            "d": "" if d is None else f"{d:.12g}",
            "dk": place,
        }
        found.append({name: text for name, text in given.items() if text})
    return found


def _places(values: Sequence[float | None], direction: Direction) -> list[str]:
    """Places by the numbers alone; equal ones share one."""
    had = [value for value in values if value is not None]
    if direction == "none" or len(had) < 2:
        return ["" for _ in values]
    return [
        ""
        if value is None
        else str(1 + sum(better_than(other, value, direction) for other in had))
        + "=" * (had.count(value) > 1)
        for value in values
    ]
