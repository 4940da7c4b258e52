"""``flowbench worker``: a start of a work order, which goes on from what was done of it before.

Whatever starts processes on other machines may start an order again: after a preemption, at the
end of its time, since a node died. Each start is an attempt of its own, with its own record.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from flowbench.errors import ExecutorError
from flowbench.provenance import available_cores
from flowbench.runner.attempt import (
    CHECKPOINTS,
    MODEL,
    ORDER,
    PLACED,
    SILENCE_S,
    AttemptDir,
    ResultsDir,
    WorkOrder,
)
from flowbench.runner.decide import go_on
from flowbench.runner.executors.base import LOG
from flowbench.runner.executors.left_over import TAG
from flowbench.runner.executors.start import worker_command, worker_environment
from flowbench.runner.obituary import WITHOUT_A_RECORD, obituary
from flowbench.runner.ownership import Claim, Owner, claim
from flowbench.runner.placed import is_over
from flowbench.runner.worker import EXIT_STATUS, utc_now
from flowbench.store.records import AttemptRow

MOST_IN_VAIN = 3  # starts in a row that came to no checkpoint
# Longer than one counts as alive that was killed on a host whose locks are not seen here.
CLAIM_WITHIN_S = 1.5 * SILENCE_S
CLAIM_EVERY_S = 0.5


def run_order(folder: Path, num_threads: int | None = None) -> int:
    """Becomes the worker of an order, unless there is nothing left to do.

    Args:
        folder: The folder of the attempt that was handed over.
        num_threads: CPU threads; None for as many as there are cores that this process may use.

    Returns:
        The exit status of what has ended before: see `flowbench.runner.worker.main`.

    Raises:
        ExecutorError: There is no order, another process is at work on the job, or starting it
            again and again leads nowhere.
    """
    folder = folder.resolve()
    if not (folder / ORDER).is_file():
        raise ExecutorError(
            f"no work order in {str(folder)!r}; expected the folder of an attempt, "
            "results/runs/JOB/NUMBER, as an executor is given it"
        )
    given = AttemptDir(folder)
    order = given.order()
    taken = _take(folder.parent, order)
    try:
        attempt = _this_start(given, ResultsDir(folder.parents[2]))
        if isinstance(attempt, AttemptRow):
            taken.release()
            return EXIT_STATUS.get(attempt.status, 3)
        threads = num_threads or len(available_cores())
        now = {
            "num_threads": threads,
            "spawned": time.monotonic(),
            "spawned_utc": utc_now(),
        }
        attempt.write(ORDER, attempt.order().model_copy(update=now).model_dump_json(indent=1))
        taken.begins(attempt.number)
    except BaseException:
        taken.release()
        raise
    log = os.open(attempt.path / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.set_inheritable(taken.lock, True)
    command = worker_command(attempt.path, [taken.lock])
    # In place of this process: signals and the exit status are the worker's own.
    os.execve(command[0], command, worker_environment(threads) | {TAG: str(attempt.path)})


def _take(job: Path, order: WorkOrder) -> Claim:
    """Takes the job; whoever gave it away may hold it for a moment more.

    Raises:
        ExecutorError: Another process is at work on it.
    """
    owner = Owner.of_this_process(started=utc_now(), command=order.command, detached=True)
    until = time.monotonic() + CLAIM_WITHIN_S
    while not isinstance(taken := claim(job, owner), Claim):
        if time.monotonic() > until:
            raise ExecutorError(f"{order.job.label}: {taken or 'running elsewhere'}; left to it")
        time.sleep(CLAIM_EVERY_S)
    return taken


def _this_start(given: AttemptDir, results: ResultsDir) -> AttemptDir | AttemptRow:
    """The attempt that begins now; or the record of what has ended for good.

    Raises:
        ExecutorError: It was begun otherwise meanwhile, or too often in vain.
    """
    order = given.order()
    attempts = results.attempts(order.job.job_id)
    last = attempts[-1]
    if last.number != given.number and last.order().start_of != given.number:
        raise ExecutorError(f"{order.job.label}: attempt {last.number} has taken its place")
    if not last.ended:
        if last.heartbeat() is None:
            return last  # the first start, or one that was ended before it had begun
        last.write_record(obituary(order.job, last, "killed", WITHOUT_A_RECORD))
    starts = [a for a in attempts if a.number >= given.number]
    known = [(a, record) for a in starts if (record := a.record()) is not None]
    if is_over(last):
        return known[-1][1]
    in_vain = [not any((a.path / n).exists() for n in (*CHECKPOINTS, MODEL)) for a in starts]
    if len(starts) >= MOST_IN_VAIN and all(in_vain[-MOST_IN_VAIN:]):
        raise ExecutorError(
            f"{order.job.label}: {MOST_IN_VAIN} starts in a row came to no checkpoint; "
            "not started again: give it more time at once"
        )
    decision = go_on(known, None)
    attempt = results.new_attempt(order.job.job_id)
    again = order.model_copy(
        update={
            "number": attempt.number,
            "start_of": given.number,
            "resume": order.resume if decision.source is None else str(decision.source.path),
        }
    )
    if (code := given.code()) is not None:
        attempt.write_code(code)
    attempt.write(ORDER, again.model_dump_json(indent=1))
    if (placement := given.placement()) is not None:
        attempt.write(PLACED, placement.model_dump_json())
    return attempt
