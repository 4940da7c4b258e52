"""What a worker had started, and is still there although the worker and its run were killed."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

TAG = "FLOWBENCH_ATTEMPT"  # in the environment of a worker, and so of all that it starts
_PROC = Path("/proc")


def end_left_over(folder: Path) -> None:
    """Ends the processes of an attempt whose worker is gone, where the system tells them.

    Args:
        folder: Folder of the attempt.
    """
    for path in _PROC.glob("[0-9]*/environ"):
        # A process of another user, or one that ended just now, cannot be asked.
        with contextlib.suppress(OSError):
            if f"{TAG}={folder}".encode() in path.read_bytes().split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)
