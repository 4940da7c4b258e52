"""The records of attempts that wrote none: nobody but what is left of them tells how they ended."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from flowbench.runner.attempt import AttemptDir, ResultsDir
from flowbench.runner.executors.left_over import end_left_over
from flowbench.runner.placed import Placed
from flowbench.runner.under_way import code_columns
from flowbench.runner.worker import utc_now
from flowbench.store.records import AttemptRow, AttemptStatus, JobRow

WITHOUT_A_RECORD = "its process ended without a record"


def bury(results: ResultsDir, job: JobRow, placed: Placed | None = None) -> None:
    """Records attempts whose process is gone without a word, e.g. after a power cut.

    Args:
        job: A job that nobody else is at work on.
        placed: Asks how those ended that a queue had.
    """
    for attempt in results.attempts(job.job_id):
        if not attempt.ended:
            end_left_over(attempt.path)
            placement = attempt.placement()
            seen = placed.how_it_ended(placement) if placed and placement else WITHOUT_A_RECORD
            attempt.write_record(obituary(job, attempt, *end_of(attempt, seen)))


def end_of(attempt: AttemptDir, seen: str) -> tuple[AttemptStatus, str]:
    """How an attempt ended of which nobody saw the end but what is left of it."""
    if not attempt.is_asked_to_stop():
        return "killed", seen
    status, reason = attempt.stopped_by()
    if attempt.placement() and attempt.heartbeat() is None:  # taken from a queue: nothing began
        return status, reason
    # It was to save its state, which is not known to have come to an end.
    return ("killed", f"{reason}; {seen}") if status == "preempted" else (status, reason)


def obituary(job: JobRow, attempt: AttemptDir, status: AttemptStatus, reason: str) -> AttemptRow:
    """The record of an attempt that wrote none, from its last heartbeat."""
    bare = bare_record(job, attempt.number, status, reason)
    heartbeat = attempt.heartbeat()
    known: dict[str, Any] = {"log_tail": attempt.log_tail(), **code_columns(attempt.code())}
    if (measured := attempt.measured()) is not None:
        known["measurements"] = measured.with_the_last_failed()
    with suppress(OSError, ValidationError):
        order = attempt.order()
        known |= {"num_devices": order.num_devices, **order.record_of_tuning}
    if heartbeat is None:
        return bare.model_copy(update=known)
    spent = {"steps": heartbeat.step, "charged_s": heartbeat.charged_s}
    return bare.model_copy(update={**known, **spent})


def bare_record(job: JobRow, number: int, status: AttemptStatus, reason: str) -> AttemptRow:
    """A record that says how an attempt ended, and nothing else."""
    return AttemptRow(
        attempt_id=f"{job.job_id}-{number}",
        number=number,
        job=job,
        status=status,
        reason=reason,
        started=utc_now(),
        ended=utc_now(),
    )
