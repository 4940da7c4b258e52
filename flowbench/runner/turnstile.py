"""Machine-wide exclusion: one job measures latency while the others pause between steps.

Two advisory file locks, released by the operating system when a process dies. Every job holds
``room`` shared while it works. Whoever measures takes ``gate`` alone, then ``room`` alone; the
others notice the closed gate at their next step, leave the ``room`` and wait at the gate.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Turnstile:
    """One process's place at the turnstile.

    Args:
        folder: Where the lock files are; by default one folder for each user of the machine.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or Path(tempfile.gettempdir()) / f"flowbench-{os.getuid()}"
        # Of one user alone: in a shared folder anybody could hold up everybody's jobs.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._gate = os.open(folder / "gate.lock", flags, 0o600)
        self._room = os.open(folder / "room.lock", flags, 0o600)
        self._pass(self._gate)

    def pause_if_asked(self, waiting: Callable[[], object] = lambda: None) -> bool:
        """Waits while another job measures.

        Args:
            waiting: Called before a wait begins, e.g. to stop the budget's clock.

        Returns:
            Whether there was a wait.
        """
        try:
            fcntl.flock(self._gate, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            # Before it leaves the room, so that the wait is on no budget.
            waiting()
            fcntl.flock(self._room, fcntl.LOCK_UN)
            self._pass(self._gate)
            return True
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        return False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Gives this process the machine to itself; entering waits until all other jobs pause."""
        fcntl.flock(self._room, fcntl.LOCK_UN)  # or two would wait for each other to leave
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_SH)
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def close(self) -> None:
        """Leaves the turnstile."""
        os.close(self._gate)
        os.close(self._room)

    def _pass(self, gate: int) -> None:
        fcntl.flock(gate, fcntl.LOCK_SH)
        fcntl.flock(self._room, fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
