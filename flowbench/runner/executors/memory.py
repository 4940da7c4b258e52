"""What memory a worker holds, with all that it started, and when that is too much."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from flowbench.budget import size_text

LOOK_EVERY_S = 1.0
PROC = Path("/proc")
# Of private and of shared memory. What is only mapped from files, such as a dataset, is left out:
# the system takes it back when it needs room.
HELD = ("RssAnon:", "RssShmem:")


class MemoryWatch:
    """Follows one worker's memory.

    Args:
        limit: Bytes that it may hold; None for as many as there are.
        now: Monotonic time in seconds.

    Attributes:
        peak: The most bytes that it was seen to hold; None before the first look.
    """

    def __init__(self, limit: int | None, now: Callable[[], float] = time.monotonic) -> None:
        self.peak: int | None = None
        self._limit, self._now = limit, now
        self._next_look, self._kills = 0.0, oom_kills()

    def look(self, held: Callable[[], int | None]) -> str | None:
        """Looks again, if it is time.

        Args:
            held: Tells the bytes that it holds now; None where that cannot be told.

        Returns:
            Why it must be ended; None if it may go on.
        """
        if self._now() < self._next_look:
            return None
        self._next_look = self._now() + LOOK_EVERY_S
        self._kills, found = oom_kills(), held()
        if found is None:
            return None
        self.peak = max(found, self.peak or 0)
        if self._limit is None or found <= self._limit:
            return None
        return (
            f"the worker holds {size_text(found)} of memory, more than --max-rss "
            f"({size_text(self._limit)}) allows"
        )

    def ended_by_system(self) -> bool:
        """Whether the kernel ended a process for want of memory since the last look.

        As far as one can tell: it says of none which.
        """
        now = oom_kills()
        return now is not None and self._kills is not None and now > self._kills


def held_bytes(pid: int) -> int | None:
    """Bytes of memory that a process and its descendants hold.

    Returns:
        Their sum; None where the system does not tell, or the process is gone.
    """
    if sys.platform != "linux":
        return _by_ps(pid)
    held = [_held(process) for process in _family(pid)]
    return sum(held) if any(held) else None


def oom_kills() -> int | None:
    """Processes that the kernel has ended for want of memory; None where it keeps no count."""
    try:
        lines = (PROC / "vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def _family(pid: int) -> Iterator[int]:
    """A process and its descendants."""
    yield pid
    for children in (PROC / str(pid) / "task").glob("*/children"):
        try:
            listed = children.read_text(encoding="ascii").split()
        except OSError:  # its thread ended just now
            continue
        for child in listed:
            yield from _family(int(child))


def _held(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(HELD))


def _by_ps(pid: int) -> int | None:
    """The same where there is no /proc, with what is mapped from files."""
    command = ["ps", "-A", "-o", "pid=,ppid=,rss="]
    try:
        done = subprocess.run(command, capture_output=True, encoding="ascii", check=True, timeout=5)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    rows = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    family = {pid}
    while more := {p for p, parent, _ in rows if parent in family and p not in family}:
        family |= more
    return sum(1024 * rss for p, _, rss in rows if p in family) or None


def machine_memory() -> int:
    """Bytes of memory that this machine has, or that the control groups leave this process."""
    from flowbench.provenance import memory_limit

    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(there, memory_limit() or there)
