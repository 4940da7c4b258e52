"""How the process of a worker is started, wherever it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

# -P: a `statistics.py` in the folder where the user is must not stand in for Python's.
PYTHON = (sys.executable, "-P", "-m")


def worker_command(folder: Path, inherited: Iterable[int]) -> list[str]:
    """The command of a worker.

    Args:
        folder: Folder of the attempt.
        inherited: Numbers of the open files of a `Lifeline`.
    """
    return [*PYTHON, "flowbench.runner.worker", str(folder), *map(str, inherited)]


def worker_environment(num_threads: int) -> dict[str, str]:
    """This process's environment, with what a worker needs before it has read its order."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(num_threads),
        "PYTHONIOENCODING": "utf-8:backslashreplace",  # of the log, whatever the locale
    }
