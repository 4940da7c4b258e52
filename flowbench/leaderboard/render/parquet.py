"""The board as Parquet: the table of `Board.to_frame` with its types, written by DuckDB."""

from __future__ import annotations

import tempfile
from pathlib import Path

from flowbench.errors import LeaderboardError
from flowbench.leaderboard.board.table import FIELDS, Board

_TYPES = {str: "VARCHAR", float: "DOUBLE", int: "BIGINT", bool: "BOOLEAN"}


def render(board: Board) -> bytes:
    """Writes a board as Parquet.

    Returns:
        The file's content.

    Raises:
        LeaderboardError: DuckDB could not write it.
    """
    import duckdb

    # A column that has nothing in it would otherwise have a type of DuckDB's choice.
    columns = ", ".join(f'"{name}"::{_TYPES[kind]} AS "{name}"' for name, kind in FIELDS.items())
    with tempfile.TemporaryDirectory(prefix="flowbench-") as folder:
        target = Path(folder) / "board.parquet"
        quoted = str(target).replace("'", "''")
        try:
            with duckdb.connect(config={"threads": 1}) as connection:
                connection.register("cells", board.to_frame())
                connection.execute(f"COPY (SELECT {columns} FROM cells) TO '{quoted}'")
        except duckdb.Error as exc:
            raise LeaderboardError(
                f"cannot write board {board.slug!r} as Parquet: {exc}; try another --format"
            ) from exc
        return target.read_bytes()
