"""What a list of boards says of each, in HTML as in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

from flowbench.leaderboard import words
from flowbench.leaderboard.table import Board

INDEX_INTRO = (
    "Each mirrors a table of a paper, published numbers beside our own, or compares what was "
    "trained here under one budget."
)
_OWN_BOARDS = "flowbench"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A board in a list.

    Attributes:
        file: Where it is.
        title: Its title.
        about: Which table it mirrors, or the budget of its runs.
        rows: How many rows it has.
        published: How many published values.
        reproduced: How many values of ours.
        failed: How many of its rows have a failure.
        leader: The best reproduced value of the first column, with its method; of ties the first.
    """

    file: str
    title: str
    about: str
    rows: int
    published: int
    reproduced: int
    failed: int
    leader: str


def sections(boards: Sequence[tuple[str, Board]]) -> dict[str, list[Listed]]:
    """Boards with their files, by paper."""
    found: dict[str, list[Listed]] = {}
    for file, board in boards:
        paper = board.source.paper if board.source else _OWN_BOARDS
        found.setdefault(paper, []).append(_listed(file, board))
    return found


def _listed(file: str, board: Board) -> Listed:
    cells = board.cells
    return Listed(
        file=file,
        title=board.title,
        about=board.source.number if board.source else words.budget(board.budget),
        rows=len(list(board.rows)),
        published=sum(cell.published is not None for cell in cells),
        reproduced=sum(bool(cell.value) for cell in cells),
        failed=sum(any(c.words.startswith("×") for c in row.cells) for row in board.rows),
        leader=leader(board),
    )


def leader(board: Board) -> str:
    """The best reproduced value of a board's first column, with its method; of ties the first."""
    tied = [
        (mean, row)
        for row in board.rows
        if row.cells and row.cells[0].best and (mean := row.cells[0].mean) is not None
    ]
    if not tied:
        return ""
    is_higher_better = board.columns[0].direction == "higher"
    _, row = sorted(tied, key=itemgetter(0), reverse=is_higher_better)[0]
    return f"{words.printable(row.name)} {row.cells[0].text}"
