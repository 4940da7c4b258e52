"""A limit on the time that a plugin's code may take in this process.

A timer's signal interrupts the code, as Ctrl-C would. That ends everything that is Python's: a
loop, a sleep, a lock, a socket, a child that is waited for. Compiled code that never returns to
Python is not interrupted; only another process could end it, and one for each plugin would cost
every command seconds. Training runs in such a process, with a watchdog of its own.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

REPEAT_S = 1.0  # the next interrupt, for code that swallowed the first


class _Interrupt(BaseException):
    """Not an `Exception`, so that the code's own handlers let it pass."""


class TimeLimitError(TimeoutError):
    """A block took longer than `time_limit` allows; its cause holds where it was then."""


@contextmanager
def time_limit(limit_s: float) -> Iterator[None]:
    """Ends the block after a time; outside of the main thread, or without signals, it runs on.

    Args:
        limit_s: Seconds that the block may take.

    Yields:
        Nothing.

    Raises:
        TimeLimitError: The block took longer.
    """
    # Signals reach the main thread alone; to raise there would hit the wrong code.
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return
    armed = True

    def interrupt(number: int, frame: Any) -> None:
        # The timer may go off between the block's end and its own.
        if armed:
            raise _Interrupt

    handler = signal.signal(signal.SIGALRM, interrupt)
    timer = signal.setitimer(signal.ITIMER_REAL, limit_s, REPEAT_S)
    try:
        yield
    except _Interrupt as exc:
        raise TimeLimitError(f"took more than {limit_s:g} s") from exc
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, *timer)  # an outer timer starts afresh
        signal.signal(signal.SIGALRM, handler)
