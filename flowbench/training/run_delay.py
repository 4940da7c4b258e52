"""How long a training could have run but waited for a core, by the scheduler's own statistics."""

from __future__ import annotations

import time
from pathlib import Path

from flowbench.provenance import available_cores

_THREADS = Path("/proc/self/task")  # Linux alone keeps such statistics


class RunDelay:
    """Adds up the waits of this process for a core, over the stretches that count.

    A thread that waits for a GPU, a disk or another thread is asleep: only one that could run and
    had no core waits here. Threads of one operation wait for each other, so that it is delayed by
    the one that waited longest: of waits side by side only that one counts, and never more than
    passed. Nor does it count what threads of this process took from each other: no more than the
    time in which the cores that it may use did something else.

    Args:
        threads: Where the statistics are, a folder for each thread.

    Attributes:
        seconds: What has been waited so far; None where the system does not say it.
    """

    def __init__(self, threads: Path = _THREADS) -> None:
        self.seconds: float | None = 0.0
        self._threads = threads
        self._start()

    def lap(self, counts: bool) -> None:
        """Ends a stretch and begins the next.

        Args:
            counts: Whether what was waited in the stretch that ends counts.
        """
        if self.seconds is None:
            return
        waits, used, now = self._waits, self._used, self._now
        self._start()
        if counts and self.seconds is not None:
            longest = max(ns - waits.get(thread, 0) for thread, ns in self._waits.items()) / 1e9
            passed = self._now - now
            elsewhere = len(available_cores()) * passed - (self._used - used)
            self.seconds += max(0.0, min(longest, passed, elsewhere))

    def carry(self, seconds: float | None) -> None:
        """Adds what earlier attempts have waited; one that does not know it makes it unknown."""
        known = self.seconds is not None and seconds is not None
        self.seconds = self.seconds + seconds if known else None  # type: ignore[operator]

    def _start(self) -> None:
        self._now, self._used = time.monotonic(), time.process_time()
        self._waits = _waits(self._threads)
        if not self._waits:
            self.seconds = None


def _waits(threads: Path) -> dict[str, int]:
    """Nanoseconds that each thread has waited for a core; empty where it is not known."""
    waits: dict[str, int] = {}
    for path in threads.glob("*/schedstat"):
        try:
            # Time on a core, time waiting for one, and how often it got one.
            _, waited, times = path.read_text(encoding="ascii").split()
        except OSError:  # it has ended since
            continue
        if times != "0":  # a kernel that does not count prints zeros
            waits[path.parent.name] = int(waited)
    return waits
