"""Brings attempt directories into the database.

Idempotent by attempt id: an attempt that is there already is replaced, in the transaction that
writes it anew. Records go in as JSON texts and DuckDB takes them apart by the columns of its own
tables, so a column added by a later migration needs nothing here.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from flowbench.api.data import Artifact
from flowbench.errors import StoreError
from flowbench.store import Connection
from flowbench.store.attempt_files import AttemptContents, read_attempt
from flowbench.store.connection import writing
from flowbench.store.migrations import TABLES_BY_ATTEMPT
from flowbench.store.records import CurvePoint

Report = Callable[[str], None]

BATCH = 500  # attempts in a transaction: a few MB of JSON

_CURVES = TypeAdapter(tuple[CurvePoint, ...])

_STAGE = """
CREATE OR REPLACE TEMP TABLE staged AS
SELECT unnest(?::VARCHAR[]) AS attempt_id, unnest(?::JSON[]) AS record, unnest(?::JSON[]) AS curves
"""

_INSERT_JOBS = """
INSERT INTO jobs BY NAME
SELECT DISTINCT ON (job_id) * FROM (
    SELECT unnest(from_json(record->'job', $structure)) FROM staged
) WHERE job_id NOT IN (SELECT job_id FROM jobs)
"""

_INSERT_ATTEMPTS = """
INSERT INTO attempts BY NAME
SELECT * EXCLUDE (record) REPLACE (
    record->>'$.job.job_id' AS job_id,
    record->>'$.job.preset' AS preset,
    record->'$.job.overrides' AS overrides,
    record->>'$.job.family' AS family
)
FROM (SELECT record, unnest(from_json(record, $structure)) FROM staged)
"""

_INSERT_LIST = """
INSERT INTO {table} BY NAME
SELECT * EXCLUDE (owner, place) REPLACE (owner AS attempt_id, place AS position)
FROM (
    SELECT owner, place, unnest(item) FROM (
        SELECT owner, unnest(items) AS item, generate_subscripts(items, 1) AS place FROM (
            SELECT attempt_id AS owner, from_json({items}, $structure) AS items FROM staged
        )
    )
)
"""

_INSERT_ARTIFACTS = """
INSERT INTO artifacts
SELECT unnest(?::VARCHAR[]), unnest(?::INTEGER[]), unnest(?::VARCHAR[]), unnest(?::VARCHAR[]),
    unnest(?::BLOB[]), unnest(?::BLOB[])
"""
_INSERT_LIKELIHOODS = """
INSERT INTO likelihoods
SELECT (?::VARCHAR[])[owner + 1], list(value ORDER BY place) FROM flat GROUP BY owner ORDER BY owner
"""


def log_problem(problem: str) -> None:
    """Reports a problem, one line, to the log ``flowbench.store``."""
    logging.getLogger("flowbench.store").warning("%s", problem)


def ingest(results: Path, attempt_dirs: Iterable[Path], *, report: Report = log_problem) -> int:
    """Brings attempts into the store.

    Args:
        results: The results folder; its database is created if need be.
        attempt_dirs: Directories of attempts that have ended.
        report: Told, in one line each, of records and parts that cannot be read; they are skipped.

    Returns:
        How many attempts were written.
    """
    with writing(results) as connection:
        return load(connection, attempt_dirs, report=report)


def load(
    connection: Connection,
    attempt_dirs: Iterable[Path],
    *,
    report: Report,
    missed: Callable[[Path], object] = lambda directory: None,
) -> int:
    """Brings attempts into an open database.

    Args:
        attempt_dirs: Directories of attempts that have ended.
        report: Told of what cannot be read.
        missed: Given the directories whose records cannot be read.

    Returns:
        How many attempts were written.
    """
    total = 0
    directories = iter(attempt_dirs)
    # While DuckDB takes in one batch, a thread reads the next.
    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead = reader.submit(_read_batch, directories)
        while batch := ahead.result():
            ahead = reader.submit(_read_batch, directories)
            staged, problems, unread = batch
            for problem in problems:
                report(problem)
            for directory in unread:
                missed(directory)
            total += _write(connection, staged)
    return total


def load_kept(connection: Connection, kept: Iterable[AttemptContents]) -> None:
    """Brings attempts that are kept as text into an open database.

    What is kept as text is less than what a directory has, so it only takes the place of an earlier
    attempt of the same id.
    """
    known = dict(connection.execute("SELECT attempt_id, started FROM attempts").fetchall())
    newer = (c for c in kept if c.record.started > known.get(c.record.attempt_id, ""))
    _write(connection, [_Staged.of(contents) for contents in newer])


def _write(connection: Connection, batch: Sequence[_Staged]) -> int:
    """Writes attempts in one transaction; of two that claim one id the last wins."""
    # A copied directory claims the id of its original; both in one batch would give two rows.
    unique = list({staged.attempt_id: staged for staged in batch}.values())
    if unique:
        connection.execute("BEGIN")
        _replace(connection, unique)
        connection.execute("COMMIT")
    return len(unique)


@dataclass(frozen=True)
class _Staged:
    """An attempt as it goes to DuckDB: texts, which cost the garbage collector nothing."""

    attempt_id: str
    record: str
    curves: str
    artifacts: tuple[Artifact, ...]
    log_prob: NDArray[np.float64] | None

    @classmethod
    def of(cls, contents: AttemptContents) -> _Staged:
        return cls(
            attempt_id=contents.record.attempt_id,
            record=contents.record.model_dump_json(),
            curves=_CURVES.dump_json(contents.curves).decode(),
            artifacts=contents.artifacts,
            log_prob=contents.log_prob,
        )


def _read_batch(
    directories: Iterator[Path],
) -> tuple[list[_Staged], list[str], list[Path]] | None:
    """The next attempts and what of them could not be read; None where there are no more."""
    staged: list[_Staged] = []
    problems: list[str] = []
    unread: list[Path] = []
    # Its length, and not that of what could be read, tells whether there are more.
    chosen = list(itertools.islice(directories, BATCH))
    for directory in chosen:
        try:
            files = read_attempt(directory)
        except StoreError as exc:
            problems.append(str(exc))
            unread.append(directory)
            continue
        staged.append(_Staged.of(files))
        problems += files.problems
    return (staged, problems, unread) if chosen else None


def _replace(connection: Connection, batch: Sequence[_Staged]) -> None:
    ids = [staged.attempt_id for staged in batch]
    # All tables first: what an attempt measured before and not again would stay otherwise.
    for table in TABLES_BY_ATTEMPT:
        connection.execute(f"DELETE FROM {table} WHERE attempt_id IN (SELECT unnest(?))", [ids])
    texts = [[staged.record for staged in batch], [staged.curves for staged in batch]]
    connection.execute(_STAGE, [ids, *texts])
    insert_measurements = _INSERT_LIST.format(table="measurements", items="record->'measurements'")
    insert_curves = _INSERT_LIST.format(table="curves", items="curves")
    for sql, table, many in (
        (_INSERT_JOBS, "jobs", False),
        (_INSERT_ATTEMPTS, "attempts", False),
        (insert_measurements, "measurements", True),
        (insert_curves, "curves", True),
    ):
        structure = _structure(connection, table)
        connection.execute(sql, {"structure": f"[{structure}]" if many else structure})
    connection.execute("DROP TABLE staged")
    _insert_artifacts(connection, batch)
    _insert_likelihoods(connection, batch)


def _structure(connection: Connection, table: str) -> str:
    """The columns of a table as the structure that ``from_json`` takes."""
    row = connection.execute(
        "SELECT json_group_object(column_name, data_type) FROM duckdb_columns() "
        "WHERE table_name = ? AND NOT internal",
        [table],
    ).fetchone()
    return str(row[0]) if row else "{}"


def _insert_artifacts(connection: Connection, batch: Sequence[_Staged]) -> None:
    rows = [
        (staged.attempt_id, position, a.name, a.media_type, a.content, a.thumbnail)
        for staged in batch
        for position, a in enumerate(staged.artifacts)
    ]
    if rows:
        connection.execute(_INSERT_ARTIFACTS, list(map(list, zip(*rows, strict=True))))


def _insert_likelihoods(connection: Connection, batch: Sequence[_Staged]) -> None:
    """Inserts the per-example values as flat arrays: lists of floats take ten times longer."""
    have = [(staged.attempt_id, x) for staged in batch if (x := staged.log_prob) is not None]
    if not have:
        return
    values = np.concatenate([log_prob for _, log_prob in have])
    owner = np.repeat(np.arange(len(have)), [log_prob.size for _, log_prob in have])
    connection.register("flat", {"owner": owner, "place": np.arange(values.size), "value": values})
    connection.execute(_INSERT_LIKELIHOODS, [[attempt_id for attempt_id, _ in have]])
    connection.unregister("flat")
