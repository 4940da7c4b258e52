"""The store: every attempt's record in one DuckDB file, and the only place where SQL is written."""
