"""A board as flat records, one a cell: what CSV and Parquet write."""

from __future__ import annotations

from collections.abc import Iterator

from flowbench.leaderboard.table import Board, Cell, Column, Group, Published, Row

Value = str | float | int | bool | None

FIELDS: dict[str, type] = {
    "board": str,
    "group": str,
    "method": str,
    "mark": str,
    "about": str,
    "model": str,
    "badges": str,
    "column": str,
    "dataset": str,
    "metric": str,
    "unit": str,
    "direction": str,
    "published_sign": str,
    "published": str,
    "published_value": float,
    "published_rank": str,
    "published_best": bool,
    "published_unlike": bool,
    "published_device_hours": float,
    "published_note": str,
    "published_remark": str,
    "sign": str,
    "value": str,
    "interval": str,
    "words": str,
    "status": str,
    "rank": str,
    "best": bool,
    "unlike": bool,
    "struck": bool,
    "mean": float,
    "half_width": float,
    "n": int,
    "device_hours": float,
    "note": str,
    "difference": str,
    "budget_share": str,
}
"""Names and types of the fields, in order."""


def records(board: Board) -> Iterator[dict[str, Value]]:
    """Goes through all cells of a board.

    Args:
        board: The board.

    Yields:
        A value for each of `FIELDS`.
    """
    notes = dict(board.notes)
    for group in board.groups:
        for row in group.rows:
            for column, cell in zip(board.columns, row.cells, strict=True):
                yield _row(board, group, row) | _column(column, cell) | _cell(cell, notes)


def _row(board: Board, group: Group, row: Row) -> dict[str, Value]:
    return {
        "board": board.slug,
        "group": group.name,
        "method": row.name,
        "mark": row.mark,
        "about": row.sub,
        "badges": ", ".join(row.badges),
    }


def _column(column: Column, cell: Cell) -> dict[str, Value]:
    return {
        "column": " ".join(part for part in (column.label, column.detail) if part),
        "dataset": cell.dataset or column.dataset,
        "metric": cell.metric or column.metric,
        "unit": column.unit,
        "direction": column.direction,
    }


def _cell(cell: Cell, notes: dict[str, str]) -> dict[str, Value]:
    names = "sign value interval words status rank best unlike struck mean half_width n".split()
    found: dict[str, Value] = {name: getattr(cell, name) for name in names}
    found["model"] = cell.model
    found |= {name: getattr(cell, name) for name in ("device_hours", "difference", "budget_share")}
    return found | _published(cell.published, notes) | {"note": notes.get(cell.note, "")}


def _published(cell: Published | None, notes: dict[str, str]) -> dict[str, Value]:
    cell = cell or Published(text="")
    return {
        "published_sign": cell.sign,
        "published": cell.text,
        "published_value": cell.value,
        "published_rank": cell.rank,
        "published_best": cell.best,
        "published_unlike": cell.unlike,
        "published_device_hours": cell.device_hours,
        "published_note": notes.get(cell.note, ""),
        "published_remark": cell.remark,
    }
