"""The board as CSV: one line a cell, as shown and in full precision."""

from __future__ import annotations

import re

from flowbench.leaderboard.board.table import FIELDS, Board

# What a spreadsheet would take for a formula: neither a number nor a mere sign.
_FORMULA = re.compile(r"(?!=$|[-+]?[0-9.]+(e[-+]?[0-9]+)?$)(?=[=+@\t\r-])")


def render(board: Board) -> str:
    """Writes a board as CSV with a header line."""
    frame = board.to_frame()
    for name, kind in FIELDS.items():
        if kind is bool:
            frame[name] = frame[name].map({True: "yes", False: ""})
        elif kind is str:
            frame[name] = frame[name].map(lambda text: "'" * bool(_FORMULA.match(text)) + text)
    return str(frame.to_csv(index=False, lineterminator="\n"))
