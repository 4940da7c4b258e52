"""Recreates the database from the attempts' own records, and from those that are kept as text."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flowbench.errors import StoreError
from flowbench.store import Connection
from flowbench.store.attempt_files import AttemptContents, attempt_dirs
from flowbench.store.checks import load_checks
from flowbench.store.connection import DATABASE, database_path, is_damage, writing
from flowbench.store.ingest import Report, load, load_kept, log_problem
from flowbench.store.kept import has_kept, kept_attempts
from flowbench.store.migrations import TABLES_BY_ATTEMPT
from flowbench.store.queries import stored_ids

_SETTLED = """
CREATE TEMP TABLE settled AS
SELECT attempt_id FROM attempts
UNION
SELECT o.attempt_id
FROM old.attempts o
JOIN (SELECT unnest(?::VARCHAR[]) AS attempt_id, unnest(?::VARCHAR[]) AS started) k
USING (attempt_id)
WHERE o.started < k.started
"""


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
            load(connection, attempt_dirs(results), report=counted)
            # A list, since they are gone through twice.
            kept = list(kept_attempts(results, counted))
            carried = 0
            if old.is_file() and not damaged:
                carried = _carry_over(connection, old, kept)
            load_kept(connection, kept)
            load_checks(connection, results)
            attempts = len(stored_ids(connection)) - carried
        # Only now that the new one is complete.
        aside = _set_aside(old) if damaged else None
        database_path(scratch).replace(old)
    return Rebuilt(attempts=attempts, carried_over=carried, kept_aside=aside, problems=problems)


@contextmanager
def readable(results: Path, *, report: Report = log_problem) -> Iterator[Path]:
    """A results folder to read from; one with kept attempts alone gets a temporary database.

    So reference results need no database, and one that was left beside them does not hide newer
    text: without ``runs/`` there is nothing else that it could be made from.

    Args:
        report: Told, in one line each, of what cannot be read.

    Yields:
        The folder itself, or one that holds what it keeps as text.
    """
    has_own = database_path(results).is_file() and (results / "runs").is_dir()
    if has_own or not has_kept(results):
        yield results
        return
    with tempfile.TemporaryDirectory(prefix="flowbench-") as folder:
        with writing(Path(folder)) as connection:
            load(connection, attempt_dirs(results), report=report)
            load_kept(connection, kept_attempts(results, report))
            load_checks(connection, results)
        yield Path(folder)


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

    Raises:
        StoreError: It is in use, too new, or not one of flowbench's.
    """
    try:
        with writing(results) as connection:
            for table in ("jobs", *TABLES_BY_ATTEMPT):
                # Reads every block, so that damage shows now and not while carrying over.
                connection.execute(f"SELECT count(COLUMNS(*)) FROM {table}").fetchall()
            connection.execute("CHECKPOINT")  # else a WAL would stay for the new database
    except StoreError as exc:
        if not is_damage(exc):
            raise
        report(str(exc))
        return True
    return False


def _carry_over(connection: Connection, old: Path, kept: Sequence[AttemptContents]) -> int:
    """Takes over what only the old database has, unless a later attempt of that id is kept."""
    # ATTACH takes no parameters.
    source = str(old.absolute()).replace("'", "''")
    connection.execute(f"ATTACH '{source}' AS old (READ_ONLY)")
    lost = "attempt_id NOT IN (SELECT attempt_id FROM settled)"
    records = [contents.record for contents in kept]
    connection.execute(_SETTLED, [[r.attempt_id for r in records], [r.started for r in records]])
    for table in TABLES_BY_ATTEMPT:
        connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM old.{table} WHERE {lost}")
    connection.execute(
        "INSERT INTO jobs BY NAME SELECT * FROM old.jobs "
        "WHERE job_id IN (SELECT job_id FROM attempts) AND job_id NOT IN (SELECT job_id FROM jobs)"
    )
    row = connection.execute(f"SELECT count(*) FROM attempts WHERE {lost}").fetchone()
    connection.execute("DETACH old")
    return int(row[0]) if row else 0


def _set_aside(old: Path) -> Path:
    """Moves a damaged database out of the way, its write-ahead log with it."""
    number = 1
    # Never over an earlier one: it may hold what no other file does.
    while (aside := old.with_name(f"{DATABASE}.damaged-{number}")).exists():
        number += 1
    old.replace(aside)
    wal = old.with_name(f"{DATABASE}.wal")
    if wal.exists():
        wal.replace(aside.with_name(f"{aside.name}.wal"))
    return aside
