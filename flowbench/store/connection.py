"""Opens the results database: the border where DuckDB's errors become `StoreError`.

Connections are short-lived. DuckDB lets one process write, or any number read, so a connection that
meets another's lock waits a bounded time for it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowbench.errors import StoreDamagedError, StoreError
from flowbench.store import Connection, migrations

DATABASE = "flowbench.duckdb"
LOCK_WAIT_S = 10.0

# The oldest format that has all we store: every DuckDB since 1.0 opens it.
_STORAGE_VERSION = "v1.0.0"
# DuckDB would fetch and load extensions when a query seems to need one.
_NO_DOWNLOADS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
# Options that an SQL text cannot take back, for texts that the user wrote.
_SANDBOX = {"enable_external_access": "false", "lock_configuration": "true"}

# DuckDB tells these apart by text alone.
_LOCKED = re.compile(r"could not set lock|different configuration|being used by another", re.I)
_HOLDER = re.compile(r"held in (?P<program>\S+).*?\(PID (?P<pid>\d+)\)")
_DAMAGED = re.compile(
    r"not a valid duckdb|could not read enough bytes|corrupt|checksum|deserializ|serialization"
    r"|failure while replaying wal|database has been invalidated|internal error",
    re.I,
)


def database_path(results: Path) -> Path:
    """Where the database of a results folder is.

    Returns:
        The path of the DuckDB file, which need not exist.
    """
    return results / DATABASE


def write_ahead_log(results: Path) -> Path:
    """Where DuckDB keeps what is not in the database's file yet; it need not exist."""
    return results / f"{DATABASE}.wal"


@contextmanager
def writing(results: Path, *, wait_s: float = LOCK_WAIT_S) -> Iterator[Connection]:
    """Opens the database for writing, creating it and bringing its schema up to date.

    Args:
        results: The results folder; created if it does not exist.
        wait_s: How long to wait for another process to let go of it.

    Yields:
        A connection that no other process can share.

    Raises:
        StoreError: The folder cannot be written, or the database is locked or too new.
        StoreDamagedError: The database is damaged.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StoreError(
            f"cannot write results to {results}: {exc.strerror}; "
            "choose a folder that can be written with --results"
        ) from exc
    path = database_path(results)
    options = {**_NO_DOWNLOADS, "storage_compatibility_version": _STORAGE_VERSION}
    with _connection(path, read_only=False, options=options, wait_s=wait_s) as connection:
        migrations.migrate(connection, path)
        yield connection


@contextmanager
def reading(
    results: Path, *, sandbox: bool = False, wait_s: float = LOCK_WAIT_S
) -> Iterator[Connection]:
    """Opens the database for reading.

    Args:
        sandbox: Cut the connection off from files, network and settings, for SQL from the user.
        wait_s: How long to wait for a writing process to let go of it.

    Yields:
        A read-only connection.

    Raises:
        StoreError: There is no database, or it is locked, too old or too new.
        StoreDamagedError: It is damaged.
    """
    path = database_path(results)
    # DuckDB says "cannot open file"; that there are attempts to rebuild from is known here alone.
    if not path.is_file():
        raise StoreError(_missing(results))
    # Only for texts of the user: a sandbox cannot be left, and `export` has to write a file.
    options = {**_NO_DOWNLOADS, **(_SANDBOX if sandbox else {})}
    with _connection(path, read_only=True, options=options, wait_s=wait_s) as connection:
        migrations.check_current(connection, path)
        yield connection


def migrate(results: Path) -> int:
    """Brings the database of a results folder to the current schema.

    Returns:
        The version of the schema that it has now.

    Raises:
        StoreError: There is no database, or it cannot be migrated.
    """
    if not database_path(results).is_file():
        raise StoreError(_missing(results))
    with writing(results):
        return migrations.SCHEMA_VERSION


def set_aside(results: Path) -> Path:
    """Moves a damaged database out of the way, its write-ahead log with it.

    Returns:
        Where it is now.
    """
    old, number = database_path(results), 1
    # Never over an earlier one: it may hold what no other file does.
    while (aside := old.with_name(f"{DATABASE}.damaged-{number}")).exists():
        number += 1
    old.replace(aside)
    wal = write_ahead_log(results)
    if wal.exists():
        wal.replace(aside.with_name(f"{aside.name}.wal"))
    return aside


def _missing(results: Path) -> str:
    for folder in (results / "runs", results / "kept"):
        if folder.is_dir():
            return (
                f"no {DATABASE} in {results}, but there are attempts in {folder}; "
                "run `flowbench store rebuild`"
            )
    return (
        f"no results in {results}: expected {DATABASE} there; "
        "start with `flowbench run`, or name another folder with --results"
    )


@contextmanager
def _connection(
    path: Path, *, read_only: bool, options: dict[str, str], wait_s: float
) -> Iterator[Connection]:
    import duckdb

    try:
        connection = _connect(path, read_only=read_only, options=options, wait_s=wait_s)
        try:
            yield connection
        finally:
            connection.close()
    except duckdb.Error as exc:
        raise _explained(exc, path) from exc


def _connect(path: Path, *, read_only: bool, options: dict[str, str], wait_s: float) -> Connection:
    import duckdb

    deadline = time.monotonic() + wait_s
    pause_s = 0.02  # doubles: a writer holds the lock for milliseconds, or for a long ingest
    while True:
        try:
            return duckdb.connect(str(path.absolute()), read_only=read_only, config=dict(options))
        except (duckdb.IOException, duckdb.ConnectionException) as exc:
            left_s = deadline - time.monotonic()
            # Anything but a lock will not pass by waiting.
            if not _LOCKED.search(str(exc)):
                raise
            if left_s <= 0:
                raise StoreError(_locked(exc, path, wait_s)) from exc
        time.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, 0.5)


def _locked(exc: Exception, path: Path, wait_s: float) -> str:
    holder = _HOLDER.search(str(exc))
    by = f"process {holder['pid']} ({Path(holder['program']).name})" if holder else "another user"
    return f"{path} is in use by {by}, waited {wait_s:g} s; try again when it has finished"


def _explained(exc: Exception, path: Path) -> StoreError:
    # DuckDB's own messages go on with hints for people who write SQL.
    message = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
    if _DAMAGED.search(message):
        return StoreDamagedError(f"{path} is damaged ({message})")
    # The user's own doing, with its own remedy; all else is told as it came.
    if "permission denied" in message.lower() or "read-only file system" in message.lower():
        return StoreError(
            f"cannot open {path}: {message}; check its permissions or choose another --results"
        )
    return StoreError(f"{path}: {message}")
