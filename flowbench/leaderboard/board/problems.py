"""What keeps a board from being taken at its word."""

from __future__ import annotations

from dataclasses import dataclass

from flowbench.leaderboard.board.table import Board


@dataclass(frozen=True)
class Problem:
    """What keeps a board from being taken at its word; see `problems`."""

    row: str
    column: str
    text: str


def problems(board: Board) -> list[Problem]:
    """All that a strict reader would not accept of our part of a board.

    Returns:
        Cells that a model could fill and that are empty, failed, of a single run, of a model that
        fails its contract, or made by code that has been replaced.
    """
    found = []
    for row in board.rows:
        badges = [badge for badge in row.badges if badge in ("contract ×", "refuted ×", "stale")]
        found += [Problem(row.name, "", badge) for badge in badges]
        failed = {cell.model for cell in row.cells if cell.words}
        for column, cell in zip(board.columns, row.cells, strict=True):
            waits = cell.model and not cell.value and cell.model not in failed
            single = "n=1" if cell.interval == "n=1" else ""
            wrong = cell.words or single or ("no value" if waits else "")
            found += [Problem(row.name, column.label, wrong)] if wrong else []
    return found
