"""The board as CSV: one line a cell, as shown and in full precision."""

from __future__ import annotations

from flowbench.leaderboard.board.table import FIELDS, Board

# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render(board: Board) -> str:
    """Writes a board as CSV with a header line."""
    frame = board.to_frame()
    for name, kind in FIELDS.items():
        if kind is bool:
            frame[name] = frame[name].map({True: "yes", False: ""})
        elif kind is str:
            frame[name] = frame[name].map(_inert)
    return str(frame.to_csv(index=False, lineterminator="\n"))


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
