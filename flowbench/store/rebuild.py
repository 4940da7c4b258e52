"""Recreates the database from the attempts' own records, and from those that are kept as text."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flowbench.errors import StoreDamagedError, StoreError, StoreNewerError
from flowbench.store import Connection
from flowbench.store.connection import database_path, set_aside, writing
from flowbench.store.ingest import Report, log_problem
from flowbench.store.migrations import TABLES_BY_ATTEMPT
from flowbench.store.reconcile import bring, scan


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """What a rebuild did.

    Attributes:
        attempts: Attempts read from their directories, or from what is kept of them as text.
        carried_over: Attempts that only the old database had, and that the new one keeps.
        problems: Records and parts of records that could not be read; each was reported.
        kept_aside: Where the old database is, if it was damaged.
    """

    attempts: int
    carried_over: int
    kept_aside: Path | None
    problems: int = 0


def rebuild(results: Path, *, report: Report = log_problem) -> Rebuilt:
    """Recreates the database beside the old one, then takes its place.

    Attempts whose directories are gone or unreadable are carried over from the old database, and a
    database too damaged for that is kept under another name: a rebuild loses nothing. What is kept
    as text comes last, since it is less than what a directory or the database has of an attempt.

    Args:
        report: Told, in one line each, of what cannot be read.

    Returns:
        What was done.

    Raises:
        StoreError: The folder cannot be written, or its database is in use.
    """
    if not results.is_dir():
        raise StoreError(
            f"no results folder {results}; name the folder that holds runs/ with --results"
        )
    old = database_path(results)
    # First: this also brings an old schema up to date, which carrying over needs.
    damaged = old.is_file() and _is_damaged(results, report)
    problems = 0

    def counted(problem: str) -> None:
        nonlocal problems
        problems += 1
        report(problem)

    with _scratch_folder(results) as scratch:
        with writing(scratch) as connection:
            stamps = scan(results)
            files = {path: now for path, now in stamps.items() if not path.startswith("kept/")}
            bring(connection, results, files, counted)
            there = _started(connection)
            if old.is_file() and not damaged:
                _carry_over(connection, old)
            lost = _started(connection).items() - there.items()
            kept = {path: now for path, now in stamps.items() if path not in files}
            bring(connection, results, kept, counted)
            stored = _started(connection)
            carried = len(lost & stored.items())
            attempts = len(stored) - carried
        # Only now that the new one is complete.
        aside = set_aside(results) if damaged else None
        database_path(scratch).replace(old)
    return Rebuilt(attempts=attempts, carried_over=carried, kept_aside=aside, problems=problems)


@contextmanager
def _scratch_folder(results: Path) -> Iterator[Path]:
    """A folder on the same file system, so that the finished database can be renamed.

    Raises:
        StoreError: The results folder cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=results, prefix=".rebuild-") as folder:
            yield Path(folder)
    except OSError as exc:
        raise StoreError(
            f"cannot rebuild in {results}: {exc.strerror}; make the folder writable"
        ) from exc


def _is_damaged(results: Path, report: Report) -> bool:
    """Whether the old database cannot be read; brings one of an older schema up to date.

    One of a newer schema cannot either: whoever asks for a rebuild has this flowbench alone.

    Raises:
        StoreError: It is in use, or not one of flowbench's.
    """
    try:
        with writing(results) as connection:
            for table in ("jobs", *TABLES_BY_ATTEMPT):
                # Reads every block, so that damage shows now and not while carrying over.
                connection.execute(f"SELECT count(COLUMNS(*)) FROM {table}").fetchall()
            connection.execute("CHECKPOINT")  # else a WAL would stay for the new database
    except (StoreDamagedError, StoreNewerError) as exc:
        report(str(exc))
        return True
    return False


def _carry_over(connection: Connection, old: Path) -> None:
    """Takes over what only the old database has."""
    # ATTACH takes no parameters.
    source = str(old.absolute()).replace("'", "''")
    connection.execute(f"ATTACH '{source}' AS old (READ_ONLY)")
    connection.execute("CREATE TEMP TABLE settled AS SELECT attempt_id FROM attempts")
    for table in TABLES_BY_ATTEMPT:
        connection.execute(
            f"INSERT INTO {table} BY NAME SELECT * FROM old.{table} "
            "WHERE attempt_id NOT IN (SELECT attempt_id FROM settled)"
        )
    connection.execute(
        "INSERT INTO jobs BY NAME SELECT * FROM old.jobs "
        "WHERE job_id IN (SELECT job_id FROM attempts) AND job_id NOT IN (SELECT job_id FROM jobs)"
    )
    connection.execute("DETACH old")


def _started(connection: Connection) -> dict[str, str]:
    """When each attempt began that a database has."""
    return dict(connection.execute("SELECT attempt_id, started FROM attempts").fetchall())
