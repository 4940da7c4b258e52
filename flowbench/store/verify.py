"""Compares the database with the attempts' own records."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowbench.errors import StoreError
from flowbench.store.attempt_files import AttemptContents, attempt_dirs, read_attempt
from flowbench.store.connection import reading
from flowbench.store.ingest import BATCH
from flowbench.store.kept import kept_attempts, thinned
from flowbench.store.portable import portable_record
from flowbench.store.queries import contents, stored_ids


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a comparison found.

    Attributes:
        attempts: Attempts compared.
        differences: One line for each attempt or part that the database lacks or has otherwise,
            which a rebuild mends.
        unreadable: One line for each file that cannot be read, which only another run of the job
            or a copy of the file mends.
        only_stored: Attempts that only the database has; their directories are gone, and nothing
            is kept of them as text.
    """

    attempts: int
    differences: tuple[str, ...]
    unreadable: tuple[str, ...]
    only_stored: tuple[str, ...]


def verify(results: Path) -> Verified:
    """Compares every attempt's directory, and what is kept as text, with the database."""
    differences: list[str] = []
    unreadable: list[str] = []
    compared: set[str] = set()
    directories = attempt_dirs(results)
    with reading(results) as connection:
        # In pieces: curves and likelihoods of thousands of attempts do not fit into memory.
        while batch := list(itertools.islice(directories, BATCH)):
            written = []
            for directory in batch:
                try:
                    written.append(read_attempt(directory))
                except StoreError as exc:
                    unreadable.append(str(exc))
            ids = [files.record.attempt_id for files in written]
            stored = {c.record.attempt_id: c for c in contents(connection, ids)}
            for files in written:
                unreadable += files.problems
                differences += _compare(files, stored.get(files.record.attempt_id))
            compared.update(ids)
        kept = {
            files.record.attempt_id: files for files in kept_attempts(results, unreadable.append)
        }
        stored = {
            c.record.attempt_id: c for c in contents(connection, sorted(kept.keys() - compared))
        }
        for attempt_id in sorted(kept.keys() - compared):
            differences += _compare_kept(kept[attempt_id], stored.get(attempt_id))
        compared.update(kept)
        only_stored = sorted(stored_ids(connection) - compared)
    return Verified(
        attempts=len(compared),
        differences=tuple(differences),
        unreadable=tuple(unreadable),
        only_stored=tuple(only_stored),
    )


def _compare_kept(kept: AttemptContents, stored: AttemptContents | None) -> list[str]:
    """Compares what is kept as text, which can be less than what the database has."""
    # Both sides made portable: the text may be of an earlier version, which left a folder in.
    kept = replace(kept, record=portable_record(kept.record))
    if stored is not None:
        stored = replace(
            stored,
            record=portable_record(stored.record),
            curves=tuple(thinned(stored.curves)),
            artifacts=stored.artifacts if kept.artifacts else (),
            log_prob=None if kept.log_prob is None else stored.log_prob,
        )
    return _compare(kept, stored)


def _values(attempt: AttemptContents) -> NDArray[np.float64]:
    return np.empty(0) if attempt.log_prob is None else attempt.log_prob  # none are kept empty


def _compare(written: AttemptContents, stored: AttemptContents | None) -> list[str]:
    attempt_id = written.record.attempt_id
    if stored is None:
        return [f"{attempt_id}: not in the database"]
    parts = {
        "record": written.record == stored.record,
        "curves": written.curves == stored.curves,
        "samples": written.artifacts == stored.artifacts,
        "likelihoods": np.array_equal(_values(written), _values(stored)),
    }
    return [
        f"{attempt_id}: the database has other {part}" for part, same in parts.items() if not same
    ]
