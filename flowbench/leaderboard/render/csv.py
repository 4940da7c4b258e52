"""The board as CSV: one line a cell, as shown and in full precision."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from flowbench.leaderboard.table import Board, Cell, Column, Row

FIELDS = (
    "board group method about dataset metric unit direction sign value interval words status rank "
    "best unlike mean half_width n note"
).split()

# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render(board: Board) -> str:
    """Writes a board as CSV.

    Args:
        board: The board.

    Returns:
        The text, with a header line.
    """
    notes = dict(board.notes)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
    writer.writeheader()
    for group in board.groups:
        for row in group.rows:
            for column, cell in zip(board.columns, row.cells, strict=True):
                line = {"board": board.slug, "group": group.name}
                line |= dict(_fields(row, column, cell))
                line["note"] = notes.get(cell.note, "")
                writer.writerow({key: _inert(value) for key, value in line.items()})
    return stream.getvalue()


def _fields(row: Row, column: Column, cell: Cell) -> Iterator[tuple[str, str]]:
    yield from (("method", row.name), ("about", row.sub))
    for name in ("dataset", "metric", "unit", "direction"):
        yield name, getattr(column, name)
    for name in ("sign", "value", "interval", "words", "status", "rank"):
        yield name, getattr(cell, name)
    for name in ("best", "unlike"):
        yield name, "yes" if getattr(cell, name) else ""
    yield "mean", "" if cell.mean is None else repr(cell.mean)
    yield "half_width", "" if cell.half_width is None else repr(cell.half_width)
    yield "n", str(cell.n)


def _inert(value: str) -> str:
    if value == "=" or _is_number(value):
        return value
    return f"'{value}" if value.startswith(_FORMULA) else value


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
