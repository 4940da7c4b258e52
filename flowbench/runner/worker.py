"""The worker process: one attempt at one job, which always leaves a record.

``python -m flowbench.runner.worker ATTEMPT_DIR``. This module is light: the machine's turnstile and
the heartbeat are in place before torch is imported.
"""

from __future__ import annotations

import datetime
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from flowbench.errors import FlowbenchError, NonFiniteLossError
from flowbench.runner.attempt import AttemptDir
from flowbench.runner.pulse import Pulse
from flowbench.runner.turnstile import Turnstile
from flowbench.runner.under_way import Attempt
from flowbench.store.records import AttemptRow, AttemptStatus
from flowbench.training.clock import Clock


def main(path: str) -> int:
    """Runs the attempt of a directory.

    Args:
        path: The attempt directory, with its work order.

    Returns:
        0 if the attempt is ok, 3 if it ended otherwise and says so in its record.
    """
    directory = AttemptDir(Path(path))
    order = directory.order()
    # Before torch is imported: its threads inherit the cores of the thread that starts them.
    if order.cores is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, order.cores)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    clock = Clock(begin=order.spawned)
    pulse = Pulse(directory, clock)
    attempt = Attempt(order, directory, clock, Turnstile(), pulse, stop)
    record = _run(attempt)
    pulse.stop()
    directory.write_record(record)
    return 0 if record.status == "ok" else 3


def _run(attempt: Attempt) -> AttemptRow:
    status: AttemptStatus = "ok"
    reason = None
    try:
        from flowbench.runner.execute import execute  # imports torch

        execute(attempt)
    except BaseException as exc:  # the border of one run of a plan: whatever happened is recorded
        status, reason = _classify(exc, attempt.directory)
        if status not in ("preempted", "timeout"):
            traceback.print_exc()
    return _record(attempt, status, reason)


def _classify(exc: BaseException, directory: AttemptDir) -> tuple[AttemptStatus, str]:
    from flowbench.training.device import is_out_of_memory
    from flowbench.training.observer import Preempted

    text = " ".join(str(exc).split())
    if isinstance(exc, (Preempted, KeyboardInterrupt)):
        asked = directory.stop_status() or "preempted"
        return asked, "past its time limit" if asked == "timeout" else "asked to stop"
    if isinstance(exc, NonFiniteLossError):
        return "diverged", text
    if is_out_of_memory(exc):
        return "oom", text.partition(". ")[0]
    if isinstance(exc, FlowbenchError):
        return "crashed", text
    return "crashed", f"{type(exc).__name__}: {text}"


def _record(attempt: Attempt, status: AttemptStatus, reason: str | None) -> AttemptRow:
    order, ledger = attempt.order, attempt.clock.ledger()
    return AttemptRow(
        attempt_id=f"{order.job.job_id}-{order.number}",
        number=order.number,
        job=order.job,
        status=status,
        reason=reason[:1000] if reason else None,
        log_tail=None if status == "ok" else attempt.directory.log_tail(),
        started=order.spawned_utc,
        ended=utc_now(),
        num_threads=order.num_threads,
        charged_s=attempt.clock.charged_s,
        wall_s=sum(ledger.values()),
        ledger=ledger,
        **attempt.known,
    )


def utc_now() -> str:
    """The present moment, UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
