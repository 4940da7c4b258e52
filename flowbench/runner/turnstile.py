"""Machine-wide exclusion: one job measures latency while the others pause between steps.

Two advisory file locks, released by the operating system when a process dies. Every job holds
``room`` shared while it works. Whoever measures takes ``gate`` alone, then ``room`` alone; the
others notice the closed gate at their next step, leave the ``room`` and wait at the gate. A process
that holds everybody up for too long, since it hangs, is named and passed over.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PASS_OVER_S = 600.0  # what the same process may hold others up
_LOOK_EVERY_S = 0.02


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
        self._pass()

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
            self._pass()
            return True
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        return False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Gives this process the machine to itself; entering waits until all other jobs pause.

        Raises:
            TimeoutError: A process hangs that does not pause.
        """
        fcntl.flock(self._room, fcntl.LOCK_UN)  # or two would wait for each other to leave
        try:
            _take(self._gate, fcntl.LOCK_EX)
            _take(self._room, fcntl.LOCK_EX)
            yield
        finally:
            with suppress(BlockingIOError):  # where one hung that measures alone
                fcntl.flock(self._room, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def close(self) -> None:
        """Leaves the turnstile."""
        os.close(self._gate)
        os.close(self._room)

    def _pass(self) -> None:
        try:
            _take(self._gate, fcntl.LOCK_SH)
            _take(self._room, fcntl.LOCK_SH)
        except TimeoutError as exc:
            print(f"goes on all the same: {exc}", file=sys.stderr, flush=True)
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)


def _take(lock: int, kind: int) -> None:
    """Waits for a lock.

    Raises:
        TimeoutError: The same process has held it for too long.
    """
    since, holders = time.monotonic(), _holders(lock)
    while True:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() - since > PASS_OVER_S:
                now = _holders(lock)
                hung = sorted(holders & now)
                if hung or not now:
                    named = ", ".join(f"process {pid}" for pid in hung) or "a process"
                    raise TimeoutError(
                        f"{named} has held up all other jobs for {PASS_OVER_S:g} s; passed over"
                    ) from None
                since, holders = time.monotonic(), now  # it is another's turn
            time.sleep(_LOOK_EVERY_S)
        else:
            return


def _holders(lock: int) -> set[int]:
    """The processes that hold a lock, where the system says so."""
    inode = f":{os.fstat(lock).st_ino}"
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return set()
    # number: FLOCK ADVISORY WRITE pid device:inode start end
    words = [line.split() for line in lines if "->" not in line]
    return {int(w[4]) for w in words if len(w) > 5 and w[5].endswith(inode)}
