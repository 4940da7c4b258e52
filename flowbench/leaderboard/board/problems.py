"""What keeps a board from being taken at its word."""

from __future__ import annotations

from collections.abc import Iterator

from flowbench.leaderboard.board.table import Board


def problems(board: Board) -> Iterator[str]:
    """All that a strict reader would not accept of our part of a board.

    Yields:
        In a line each, cells that a model could fill and that are empty, failed, of a single run,
        of a model that fails its contract, made by code that has been replaced, or contended.
    """
    for row in board.rows:
        for badge in row.badges:
            if badge in ("contract ×", "refuted ×", "stale", "contended"):
                yield f"{board.slug} / {row.name}: {badge}"
        failed = {cell.model for cell in row.cells if cell.words}
        for column, cell in zip(board.columns, row.cells, strict=True):
            waits = cell.model and not cell.value and cell.model not in failed
            single = "n=1" if cell.interval == "n=1" else ""
            wrong = cell.words or single or ("no value" if waits else "")
            if wrong:
                yield f"{board.slug} / {row.name} / {column.label}: {wrong}"
