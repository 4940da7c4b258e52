"""The board as CSV: one line a cell, as shown and in full precision."""

from __future__ import annotations

import csv
import io

from flowbench.leaderboard.render.records import FIELDS, Value, records
from flowbench.leaderboard.table import Board

# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render(board: Board) -> str:
    """Writes a board as CSV.

    Args:
        board: The board.

    Returns:
        The text, with a header line.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(FIELDS), lineterminator="\n")
    writer.writeheader()
    for record in records(board):
        writer.writerow({name: _text(value) for name, value in record.items()})
    return stream.getvalue()


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return repr(value)
    return "" if value is None else _inert(str(value))


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
