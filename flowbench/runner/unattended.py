"""A worker that outlives its run holds itself to the limits of that run: nobody else does."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import os
import signal
import threading
import time

from flowbench.budget import Budget
from flowbench.runner.attempt import SILENCE_S, Limits
from flowbench.runner.executors.memory import MemoryWatch, held_bytes
from flowbench.runner.pulse import INTERVAL_S
from flowbench.runner.under_way import Attempt
from flowbench.runner.watchdog import KILL_AFTER_S, Verdict, judge


def hold_to(limits: Limits, attempt: Attempt, stop: threading.Event) -> None:
    """Has a thread stop this process where its run would have stopped it.

    Args:
        stop: Asks it to save and end; where that is not enough, it is ended with all that it
            started.
    """
    # Here already: what follows may hold the interpreter before the thread has it once.
    _put_off_the_alarm()
    threading.Thread(target=_watch, args=(limits, attempt, stop), daemon=True).start()


def _put_off_the_alarm() -> None:
    """Sets an alarm anew that ends the process, beneath Python.

    Where the interpreter is held no thread of Python's runs, and so none that puts it off.
    """
    faulthandler.dump_traceback_later(SILENCE_S, exit=True)


def _watch(limits: Limits, attempt: Attempt, stop: threading.Event) -> None:
    verdict: Verdict | None = None
    memory = MemoryWatch(limits.max_rss)
    limit_s = Budget.parse(attempt.job.budget).time_limit_s(attempt.order.num_devices)
    while verdict is None:
        _put_off_the_alarm()
        time.sleep(INTERVAL_S)
        verdict = judge(
            attempt.directory.heartbeat(),
            now=time.monotonic(),
            spawned=attempt.order.spawned,
            limit_s=limit_s,
            uncharged_limit_s=limits.timeout_s,
        )
        if too_much := memory.look(functools.partial(held_bytes, os.getpid())):
            verdict = Verdict(status="oom", reason=too_much, gently=False)
    with contextlib.suppress(OSError):  # without the word it is stopped all the same
        attempt.directory.ask_to_stop(verdict.status, verdict.reason)
    stop.set()
    if verdict.gently:
        time.sleep(KILL_AFTER_S)
    os.killpg(0, signal.SIGKILL)
