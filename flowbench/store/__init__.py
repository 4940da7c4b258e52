"""The store: every attempt's record in one DuckDB file, and the only place where SQL is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import duckdb

# A name alone: boards of kept text and most commands need no DuckDB, which takes long to import.
Connection: TypeAlias = "duckdb.DuckDBPyConnection"
