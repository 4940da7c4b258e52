"""What a list of boards says of each, in HTML as in Markdown, and keeps beside it as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.table import Board

FILE = "index.json"
_ALONE = "index.html"  # the only board of a folder has the place of the list
_INTRO = (
    "Each mirrors a table of a paper, published numbers beside our own, or compares what was "
    "trained here under one budget."
)
_OWN_BOARDS = "flowbench"

Listed = dict[str, dict[str, Any]]
"""What is said of each board, by its name."""


def content(listed: Listed) -> dict[str, Any]:
    """The variables of a list's template: boards with their files, by paper."""
    sections: dict[str, list[Mapping[str, Any]]] = {}
    for _, entry in sorted(listed.items()):
        sections.setdefault(entry["paper"], []).append(entry)
    return {"intro": _INTRO, "sections": sections}


def entry(board: Board, file: str) -> dict[str, Any]:
    """What a list says of a board."""
    cells = board.cells
    return {
        "file": file,
        "paper": board.source.paper if board.source else _OWN_BOARDS,
        "title": board.title,
        "about": board.source.number if board.source else words.budget(board.budget),
        "rows": len(list(board.rows)),
        "published": sum(cell.published is not None for cell in cells),
        "reproduced": sum(bool(cell.value) for cell in cells),
        "failed": sum(any(c.words.startswith("×") for c in row.cells) for row in board.rows),
        "leader": leader(board),
    }


def read(folder: Path) -> Listed:
    """What a folder's list says of the boards that are there; nothing where it cannot be read."""
    try:
        listed = json.loads((folder / FILE).read_text("utf-8"))
        return {name: one for name, one in listed.items() if (folder / one["file"]).is_file()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def own_names(folder: Path, listed: Listed) -> dict[str, bytes]:
    """Gives a board that was alone a file of its own, and the list its place."""
    moved = {}
    for name, one in listed.items():
        if one["file"] == _ALONE:
            one["file"] = f"{name}.html"
            moved[one["file"]] = (folder / _ALONE).read_bytes()
    return moved


def leader(board: Board) -> str:
    """The best reproduced value of the first column, with its method; of ties the first."""
    sign = -1.0 if board.columns[0].direction == "higher" else 1.0
    best = {row.name: row.cells[0] for row in board.rows if row.cells[0].best}
    means = {name: sign * cell.mean for name, cell in best.items() if cell.mean is not None}
    name = min(means, key=means.__getitem__, default=None)
    return "" if name is None else f"{words.printable(name)} {best[name].text}"
