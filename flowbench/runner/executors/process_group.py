"""A worker with all that it started, as its parent sees them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Literal

from flowbench.runner.executors.memory import held_bytes

# By which a process ends of its own doing, and would again.
OWN_SIGNALS = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
)


def how_it_ended(who: str, exit_status: int) -> tuple[Literal["crashed", "killed"], str]:
    """What is to be said of a process that ended without a word of its own.

    Args:
        who: What it is called.
        exit_status: Negative for a signal.
    """
    if -exit_status in OWN_SIGNALS:
        return "crashed", f"{who} ended by {signal.Signals(-exit_status).name}"
    if exit_status < 0:
        return "killed", f"{who} was killed by signal {-exit_status}"
    return "crashed", f"{who} ended with exit status {exit_status}"


class Child:
    """A child of this process that `subprocess` did not start: what is needed here of a `Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class ProcessGroup:
    """A child that leads a process group of its own; see `Handle`."""

    def __init__(self, process: subprocess.Popen[bytes] | Child) -> None:
        self._process = process

    def poll(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        if self._process.returncode is None and has_ended(self._process.pid):
            self.kill()  # what it started ends with it
        return self._process.poll()

    def terminate(self) -> None:
        """Asks it, and all that it started, to stop."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it, and all that it started, at once."""
        self._signal(signal.SIGKILL)

    def held_bytes(self) -> int | None:
        """Memory that it and all that it started hold; None where that cannot be told."""
        return held_bytes(self._process.pid)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it ended on its own just now
            os.killpg(self._process.pid, number)


def has_ended(pid: int) -> bool:
    """Whether a child has ended, and nobody else can have its number yet."""
    if not hasattr(os, "waitid"):  # on macOS before Python 3.13
        return False
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, pid, options) is not None
