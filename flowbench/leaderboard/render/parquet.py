"""The board as Parquet: the records of the CSV with their types."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from flowbench.errors import LeaderboardError
from flowbench.leaderboard.render.records import FIELDS, records
from flowbench.leaderboard.table import Board

_TYPES = {str: "VARCHAR", float: "DOUBLE", int: "BIGINT", bool: "BOOLEAN"}


def render(board: Board) -> bytes:
    """Writes a board as Parquet.

    Args:
        board: The board.

    Returns:
        The file's content.

    Raises:
        LeaderboardError: DuckDB could not write it.
    """
    import duckdb

    columns = ", ".join(f"'{name}': '{_TYPES[kind]}'" for name, kind in FIELDS.items())
    with tempfile.TemporaryDirectory(prefix="flowbench-") as folder:
        lines, target = Path(folder) / "board.json", Path(folder) / "board.parquet"
        lines.write_text("\n".join(json.dumps(record) for record in records(board)), "utf-8")
        try:
            with duckdb.connect(config={"threads": 1}) as connection:
                connection.execute(
                    f"COPY (SELECT * FROM read_json('{_quoted(lines)}', "
                    f"format='newline_delimited', columns={{{columns}}})) "
                    f"TO '{_quoted(target)}' (FORMAT parquet)"
                )
        except duckdb.Error as exc:
            raise LeaderboardError(
                f"cannot write board {board.slug!r} as Parquet: {exc}; try another --format"
            ) from exc
        return target.read_bytes()


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
