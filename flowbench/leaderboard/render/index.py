"""What a list of boards says of each, in HTML as in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.table import Board

_INTRO = (
    "Each mirrors a table of a paper, published numbers beside our own, or compares what was "
    "trained here under one budget."
)
_OWN_BOARDS = "flowbench"


def content(boards: Sequence[tuple[str, Board]]) -> dict[str, Any]:
    """The variables of a list's template: boards with their files, by paper."""
    sections: dict[str, list[dict[str, Any]]] = {}
    for file, board in boards:
        paper = board.source.paper if board.source else _OWN_BOARDS
        sections.setdefault(paper, []).append(_listed(file, board))
    return {"intro": _INTRO, "sections": sections}


def _listed(file: str, board: Board) -> dict[str, Any]:
    cells = board.cells
    return {
        "file": file,
        "title": board.title,
        "about": board.source.number if board.source else words.budget(board.budget),
        "rows": len(list(board.rows)),
        "published": sum(cell.published is not None for cell in cells),
        "reproduced": sum(bool(cell.value) for cell in cells),
        "failed": sum(any(c.words.startswith("×") for c in row.cells) for row in board.rows),
        "leader": leader(board),
    }


def leader(board: Board) -> str:
    """The best reproduced value of the first column, with its method; of ties the first."""
    sign = -1.0 if board.columns[0].direction == "higher" else 1.0
    best = {row.name: row.cells[0] for row in board.rows if row.cells[0].best}
    means = {name: sign * cell.mean for name, cell in best.items() if cell.mean is not None}
    name = min(means, key=means.__getitem__, default=None)
    return "" if name is None else f"{words.printable(name)} {best[name].text}"
