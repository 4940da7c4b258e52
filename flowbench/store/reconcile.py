"""Keeps the database what it is: a cache of the files of a results folder.

An attempt's directory is the truth, as is the file of a check and what is kept as text. The
database remembers of each file what it was when it was read, so that only changed ones are read
again, and a deleted, locked, stale, older or newer database costs time alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flowbench.errors import StoreDamagedError, StoreError
from flowbench.store import Connection
from flowbench.store.attempt_files import RECORD, is_number
from flowbench.store.checks import load_checks
from flowbench.store.connection import (
    LOCK_WAIT_S,
    database_path,
    reading,
    set_aside,
    write_ahead_log,
    writing,
)
from flowbench.store.ingest import Report, load, load_kept, log_problem
from flowbench.store.kept import has_kept, kept_attempts

Stamps = Mapping[str, str]
"""When a file was written, its size and inode, in one text; by its path in the results folder."""

READER_WAIT_S = 2.0  # after that the files are read without the database

_FORGET = "DELETE FROM sources WHERE path IN (SELECT unnest(?::VARCHAR[]))"
_REMEMBER = "INSERT INTO sources SELECT unnest(?::VARCHAR[]), unnest(?::VARCHAR[])"


def scan(results: Path) -> dict[str, str]:
    """Looks for every file that the database is made from, without opening any.

    Returns:
        What `Stamps` are.
    """
    folder = os.fspath(results)  # as texts: 10,000 paths take a quarter of the time
    stamps = {}
    for path in sorted(_files(folder)):
        with contextlib.suppress(OSError):  # most often: an attempt that has no record yet
            stamps[path] = stamp(f"{folder}/{path}")
    return stamps


def stamp(path: str | Path) -> str:
    """What tells a file from what it was before.

    Raises:
        OSError: There is no such file.
    """
    status = os.stat(path)  # noqa: PTH116 -- see `scan`
    return f"{status.st_mtime_ns} {status.st_size} {status.st_ino}"


def reconcile(
    results: Path,
    *,
    report: Report = log_problem,
    wait_s: float = LOCK_WAIT_S,
    only: Stamps | None = None,
) -> None:
    """Brings the database up to what the files say.

    A database that is damaged is set aside, with a word, and made anew.

    Args:
        results: The results folder, in which a database is made if there is none.
        report: Told, in one line each, of what cannot be read; what the database had of it stays.
        wait_s: How long to wait for another process to let go of the database.
        only: Files to look at; by default all.

    Raises:
        StoreError: The database is in use, newer, not one of flowbench's, or cannot be written.
    """
    stamps = scan(results) if only is None else only
    try:
        with writing(results, wait_s=wait_s) as connection:
            bring(connection, results, stamps, report)
    except StoreDamagedError as exc:
        aside = set_aside(results)
        report(f"{exc}; it is kept as {aside.name}, and a new one is made from the files")
        with writing(results, wait_s=wait_s) as connection:
            bring(connection, results, scan(results), report)


def bring(connection: Connection, results: Path, stamps: Stamps, report: Report) -> int:
    """Brings files into an open database, where it does not have them as they are.

    Args:
        stamps: The files.
        report: Told of what cannot be read: at each call, since none of it is remembered.

    Returns:
        How many attempts were read from their directories.
    """
    new = changed(connection, stamps)
    unread: set[str] = set()

    def told_of(path: str) -> Callable[[str], None]:
        def told(problem: str) -> None:
            unread.add(path)
            report(problem)

        return told

    of = {kind: [p for p in new if p.startswith(f"{kind}/")] for kind in ("runs", "checks", "kept")}
    missed: list[Path] = []
    num = load(
        connection, [(results / p).parent for p in of["runs"]], report=report, missed=missed.append
    )
    unread.update(str((path / RECORD).relative_to(results)) for path in missed)
    for path in of["kept"]:
        load_kept(connection, kept_attempts(results, told_of(path), only=results / path))
    for path in of["checks"]:
        load_checks(connection, [results / path], told_of(path))
    read = [path for path in new if path not in unread]
    # Last: a process that dies before reads the same files again, which changes nothing.
    connection.execute("BEGIN")
    connection.execute(_FORGET, [read])
    connection.execute(_REMEMBER, [read, [new[path] for path in read]])
    connection.execute("COMMIT")
    return num


def changed(connection: Connection, stamps: Stamps) -> dict[str, str]:
    """Those of the files that a database does not have as they are now."""
    known = dict(connection.execute("SELECT path, stamp FROM sources").fetchall())
    return {path: found for path, found in stamps.items() if known.get(path) != found}


@contextmanager
def readable(results: Path, *, report: Report = log_problem) -> Iterator[Path]:
    """A results folder whose database says what its files say.

    That is the folder's own where it can be brought up to date; else, with a word, a temporary one:
    while another process holds it, for instance. What is kept as text alone, as reference results
    are, never gets a database of its own.

    Args:
        report: Told, in one line each, of what cannot be read.

    Yields:
        The folder itself, or one with the temporary database.
    """
    stamps = scan(results)
    if not stamps:  # a database alone, or nothing
        yield results
        return
    # Beside kept text alone an old database could hide what the text says now.
    has_own = (results / "runs").is_dir() or not has_kept(results)
    if has_own and _is_current(results, stamps, report):
        yield results
        return
    with tempfile.TemporaryDirectory(prefix="flowbench-") as folder:
        side = Path(folder)
        if has_own:
            _copy_database(results, side)
        _fill(side, results, stamps, report)
        yield side


def _is_current(results: Path, stamps: Stamps, report: Report) -> bool:
    """Brings a folder's own database up to date; whether that was possible."""
    try:
        with reading(results, wait_s=READER_WAIT_S) as connection:
            if not changed(connection, stamps):
                return True
    except StoreError:
        pass  # none yet, older, damaged or in use: the next step tells
    try:
        reconcile(results, report=report, wait_s=READER_WAIT_S)
    except StoreError as exc:
        report(f"{exc}; until then results are read from the attempts' own files")
        return False
    return True


def _fill(side: Path, results: Path, stamps: Stamps, report: Report) -> None:
    """Brings a database in another folder up to what the files say."""
    try:
        with writing(side) as connection:
            bring(connection, results, stamps, report)
    except StoreError:  # of a copy that came out damaged
        set_aside(side)
        with writing(side) as connection:
            bring(connection, results, stamps, report)


def _copy_database(results: Path, side: Path) -> None:
    """Copies a database that others read; of one that they write nothing is taken."""
    # While it is open here no process can write it.
    with (
        contextlib.suppress(StoreError, OSError),
        reading(results, wait_s=0.0),
        ExitStack() as both,
    ):
        for path in (database_path(results), write_ahead_log(results)):
            if path.exists():
                # Closed together, since closing one gives up the lock that this process has.
                source = both.enter_context(path.open("rb"))
                with (side / path.name).open("wb") as target:
                    shutil.copyfileobj(source, target)


def _files(results: str) -> Iterator[str]:
    """Paths that the database is made from, as far as names tell; not all of them need exist."""
    for job in _inside(results, "runs"):
        # Editors and file managers leave folders of their own.
        yield from (f"{attempt}/{RECORD}" for attempt in _inside(results, job, is_number))
    for kind in _inside(results, "checks"):
        yield from _inside(results, kind, lambda name: name.endswith(".json"))
    yield from _inside(results, "kept", lambda name: name.endswith(".jsonl"))


def _inside(
    results: str, folder: str, wanted: Callable[[str], bool] = lambda name: True
) -> list[str]:
    """What a folder holds, as paths in the results folder; nothing of what is no folder."""
    try:
        with os.scandir(f"{results}/{folder}") as entries:
            return [f"{folder}/{entry.name}" for entry in entries if wanted(entry.name)]
    except OSError:
        return []
