"""The worker process: one attempt at one job, which always leaves a record.

``python -m flowbench.runner.worker ATTEMPT_DIR [LOCK [ALIVE]]``, with the numbers of two open
files: see `Lifeline`. This module is light: the machine's turnstile and the heartbeat are in place
before torch is imported.
"""

from __future__ import annotations

import datetime
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NoReturn, cast

from flowbench.budget import size_text
from flowbench.errors import (
    FlowbenchError,
    NonFiniteLossError,
    RankLostError,
    reason_of,
    text_of,
)
from flowbench.paths import WEIGHTS
from flowbench.provenance import available_cores, cpu_quota, load_average
from flowbench.runner.attempt import MODEL, AttemptDir
from flowbench.runner.followers import Followers, keep_to_cores
from flowbench.runner.pulse import Pulse
from flowbench.runner.turnstile import Turnstile
from flowbench.runner.unattended import hold_to
from flowbench.runner.under_way import Attempt
from flowbench.store.records import AttemptRow, AttemptStatus
from flowbench.training.clock import Clock

MAX_REASON = 1000  # characters
_END = os._exit  # while a job runs, the name itself refuses: see `_exits_raise`
SAVE_WITHIN_S = 30.0  # of the end of its run
TRY_AGAIN_S = 5.0
# SLURM sends USR2, which ends a process that does not listen, to all that a job has started.
ASKED_BY = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
# 75 is "try again later" in sysexits.h: what restarts programs can be told of it.
EXIT_STATUS: dict[AttemptStatus, int] = {"ok": 0, "pruned": 0, "preempted": 75}


def main(path: str, *inherited: str) -> int:
    """Runs the attempt of a directory.

    Args:
        path: The attempt directory, with its work order.
        inherited: Numbers of the open files of a `Lifeline`.

    Returns:
        0 if the attempt is ok or pruned, 75 if it was asked to stop and can go on from there, 3 if
        it ended otherwise; its record says how.
    """
    others = set(threading.enumerate())  # of whoever calls this
    directory = AttemptDir(Path(path))
    order = directory.order()
    stop = threading.Event()
    for number in ASKED_BY:
        signal.signal(number, lambda *_: stop.set())
    run = _Run(*map(int, inherited), stop=stop)
    # Before torch is imported: its threads inherit the cores of the thread that starts them.
    keep_to_cores(order, 0)
    followers: Followers | None = None
    if order.num_devices > 1:
        followers = Followers(
            order, directory.path, lambda *end: _give_up(_record(attempt, *end), attempt, stop)
        )
        if order.resume is None or not (Path(order.resume) / MODEL).exists():
            followers.start()  # there is something left to train
    # From the spawn on: what Python and the imports took belongs to the ledger, too.
    clock = Clock(begin=order.spawned)
    if order.weights is not None:
        os.environ[WEIGHTS] = order.weights  # where metrics look for them, in plugins
    pulse = Pulse(directory, clock)
    # Left before the record is written: to wait for room there is no work that others wait for.
    with closing(Turnstile()) as turnstile:
        attempt = Attempt(order, directory, clock, turnstile, pulse, stop, followers)
        if order.unattended is not None:
            hold_to(order.unattended, attempt, stop)
        record = run_attempt(attempt)
    status = EXIT_STATUS.get(record.status, 3)
    if record.status == "preempted" and run.is_gone:
        record = record.model_copy(update={"reason": "the run that started it has ended"})
    _write(record, attempt, stop)
    if run.is_gone:
        os.killpg(0, signal.SIGKILL)  # nobody else ends what it has started
    if left := [thread.name for thread in set(threading.enumerate()) - others if _holds(thread)]:
        print(f"ended with threads still at work: {', '.join(left)}", file=sys.stderr, flush=True)
        os._exit(status)
    return status


class _Run:
    """The run that started this worker.

    Args:
        lock: Holds the job's lock for as long as this process lives.
        alive: Reading end of a pipe, whose other end goes with the run; None to outlive it.
        stop: Set when the run is gone.
    """

    def __init__(
        self, lock: int | None = None, alive: int | None = None, *, stop: threading.Event
    ) -> None:
        self.is_gone = False
        self._stop = stop
        for number in (lock, alive):
            if number is not None:
                os.set_inheritable(number, False)  # what this process starts does not hold the job
        if alive is not None:
            threading.Thread(target=self._watch, args=(alive,), daemon=True).start()

    def _watch(self, alive: int) -> None:
        # Nothing is ever written: it returns at the end of the last process with the other end.
        os.read(alive, 1)
        self.is_gone = True
        self._stop.set()
        time.sleep(SAVE_WITHIN_S)
        os.killpg(0, signal.SIGKILL)


def _write(record: AttemptRow, attempt: Attempt, stop: threading.Event) -> None:
    """Writes the record, which ends the attempt; keeps what was measured until it can be written.

    Raises:
        FileNotFoundError: The attempt's folder is gone.
        OSError: It cannot be written, and the process was asked to stop.
    """
    said = False
    while True:
        # Before each try: the record comes after the last heartbeat.
        attempt.pulse.stop()
        try:
            attempt.directory.write_record(record)
        except FileNotFoundError:
            raise  # the folder is gone, for good
        except OSError as exc:
            if stop.is_set():
                raise
            if not said:
                print(f"cannot write the record, tries again: {exc}", file=sys.stderr, flush=True)
            said = True
            attempt.pulse.resume("waiting", "for room to write its record")
            stop.wait(TRY_AGAIN_S)
        else:
            return


def _give_up(record: AttemptRow, attempt: Attempt, stop: threading.Event) -> NoReturn:
    """Ends this process with a record, whatever it waits for."""
    _write(record, attempt, stop)
    _END(EXIT_STATUS.get(record.status, 3))


def _holds(thread: threading.Thread) -> bool:
    """Whether a thread would keep this process from ending, after its work is done."""
    return not thread.daemon


def run_attempt(attempt: Attempt) -> AttemptRow:
    """Does the job of an attempt.

    Returns:
        Its record, whatever happened.
    """
    status: AttemptStatus = "ok"
    reason = None
    attempt.note(load=_load())
    try:
        from flowbench.runner.execute import execute  # imports torch

        with _exits_raise():
            execute(attempt)
    except BaseException as exc:  # the border of one run of a plan: whatever happened is recorded
        status, reason = classify(exc, attempt)
        # These are what was asked for; a traceback in the log would look like a fault.
        if status not in ("preempted", "timeout", "pruned"):
            traceback.print_exc()
    return _record(attempt, status, reason)


@contextmanager
def _exits_raise() -> Iterator[None]:
    """Makes an exception of `os._exit`, so that what a plugin ends is itself alone.

    In a process that it forks the call stays what it is: such a one ends by it.
    """
    end, own = os._exit, os.getpid()

    def refused(status: int) -> NoReturn:
        if os.getpid() != own:
            end(status)
        raise SystemExit(f"os._exit({status})")

    os._exit = refused
    try:
        yield
    finally:
        os._exit = end


def _held(peaks: dict[str, float]) -> str:
    """What a process held at its peak, in words."""
    held = f"the process held {size_text(peaks['peak_resident_bytes'])}"
    if "peak_device_bytes" not in peaks:
        return held
    sizes = (size_text(peaks[name]) for name in ("peak_device_bytes", "device_bytes"))
    return f"{held}, and {' of '.join(sizes)} on the device"


def classify(exc: BaseException, attempt: Attempt) -> tuple[AttemptStatus, str]:
    """What is to be said of an attempt that ended by an exception.

    Returns:
        Its status, and the reason.
    """
    from flowbench.training.device import is_out_of_memory, memory_peaks
    from flowbench.training.observer import Preempted, Pruned

    text = text_of(exc, MAX_REASON)
    if isinstance(exc, Preempted):
        return attempt.directory.stopped_by()
    if isinstance(exc, Pruned):
        return "pruned", text
    if isinstance(exc, NonFiniteLossError):
        return "diverged", text
    if isinstance(exc, RankLostError):
        return cast("AttemptStatus", exc.status), text
    if is_out_of_memory(exc):
        peaks = memory_peaks()
        attempt.note(load={**attempt.known["load"], **peaks})
        # Of all that allocators say, how much was asked for.
        sentences = text.split(". ")
        what = next((s for s in sentences if "allocate" in s), sentences[0])
        return "oom", f"{what or type(exc).__name__}; at its peak {_held(peaks)}"
    if isinstance(exc, FlowbenchError):
        return "crashed", text
    # Signals only set a flag here, so that an interrupt or an exit is the plugin's own.
    return "crashed", reason_of(exc, MAX_REASON)


def _record(attempt: Attempt, status: AttemptStatus, reason: str | None) -> AttemptRow:
    """The record of an attempt; of one that cannot be recorded whole, what always can."""
    try:
        record = _row(attempt, status, reason, attempt.known)
        record.model_dump_json()  # a lone surrogate shows only now
    except ValueError as exc:  # pydantic's errors, and those of unencodable text, are such
        reason = f"its record cannot be written: {text_of(exc, MAX_REASON)}"
        return _row(attempt, "crashed", reason, {})
    return record


def _load() -> dict[str, float | None]:
    """What the machine had to do when the attempt began, and what of it this process may use."""
    return {
        "start": load_average(),
        "cores": os.cpu_count(),
        "usable": len(available_cores()),
        "quota": cpu_quota(),
    }


def _row(
    attempt: Attempt, status: AttemptStatus, reason: str | None, known: dict[str, Any]
) -> AttemptRow:
    order, ledger = attempt.order, attempt.clock.ledger()
    known = {
        **order.record_of_tuning,
        **known,
        "load": {**known.get("load", {}), "end": load_average()},
    }
    return AttemptRow(
        attempt_id=f"{order.job.job_id}-{order.number}",
        number=order.number,
        job=order.job,
        status=status,
        reason=reason,
        log_tail=None if status in ("ok", "pruned") else attempt.directory.log_tail(),
        started=order.spawned_utc,
        ended=utc_now(),
        num_threads=order.num_threads,
        charged_s=attempt.clock.charged_s,
        wall_s=sum(ledger.values()),
        ledger=ledger,
        run_delay_s=attempt.clock.run_delay.seconds,
        **known,
    )


def utc_now() -> str:
    """The present moment, UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
