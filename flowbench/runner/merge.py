"""Attempts of other results folders, brought into one: from other machines, or kept apart."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flowbench.errors import StoreError
from flowbench.runner.attempt import ORDER, PLACED, AttemptDir, ResultsDir
from flowbench.store.attempt_files import RECORD
from flowbench.store.records import AttemptRow

_PLACE = {"attempt_id", "number"}  # what a record says of where it lies


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What was found in a results folder.

    Attributes:
        brought: Attempts that were brought.
        known: Attempts that were there already.
        open: Attempts without a record, which were left.
        problems: What cannot be read, a line each.
    """

    brought: int
    known: int
    open: int
    problems: tuple[str, ...]


def merge(results: ResultsDir, source: Path) -> Merged:
    """Brings the attempts of another results folder, each once however often that is done.

    An attempt gets the next number of its job here, and keeps all else.

    Args:
        source: The other folder, which stays as it is.

    Raises:
        StoreError: It is no results folder, or this one cannot be written.
    """
    if not (source / "runs").is_dir():
        raise StoreError(f"no results in {str(source)!r}: it has no folder 'runs'")
    if source.resolve() == results.path.resolve():
        raise StoreError(f"{str(source)!r} is the folder that results are brought to")
    results.ensure_writable()
    counts = {"brought": 0, "known": 0, "open": 0}
    problems: list[str] = []
    for job in sorted(path.name for path in (source / "runs").iterdir() if path.is_dir()):
        here = [record for _, record in _recorded(results, job, [])]
        there = list(_recorded(ResultsDir(source), job, problems))
        counts["open"] += sum(not a.ended for a in ResultsDir(source).attempts(job))
        for attempt, record in there:
            if any(_same(record, other) for other in here):
                counts["known"] += 1
                continue
            _bring(attempt, record, results)
            counts["brought"] += 1
    return Merged(**counts, problems=tuple(problems))


def _recorded(
    results: ResultsDir, job: str, problems: list[str]
) -> Iterator[tuple[AttemptDir, AttemptRow]]:
    for attempt in results.attempts(job):
        try:
            record = attempt.record()
        except StoreError as exc:
            problems.append(str(exc))
            continue
        if record is not None:
            yield attempt, record


def _same(one: AttemptRow, other: AttemptRow) -> bool:
    return one.model_dump(exclude=_PLACE) == other.model_dump(exclude=_PLACE)


def _bring(attempt: AttemptDir, record: AttemptRow, results: ResultsDir) -> None:
    """Copies an attempt; its record comes last, as whoever reads it counts on."""
    job_id = record.job.job_id
    copy = results.new_attempt(job_id)
    left = shutil.ignore_patterns(RECORD, PLACED)
    shutil.copytree(attempt.path, copy.path, ignore=left, dirs_exist_ok=True)
    if (copy.path / ORDER).exists():
        order = copy.order().model_copy(update={"number": copy.number})
        copy.write(ORDER, order.model_dump_json(indent=1))
    number = {"attempt_id": f"{job_id}-{copy.number}", "number": copy.number}
    copy.write_record(record.model_copy(update=number))
