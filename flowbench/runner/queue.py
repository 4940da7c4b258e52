"""The jobs that wait in a run, told by files, so that any terminal sees and cancels them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowbench.errors import StoreError
from flowbench.files import write_whole
from flowbench.runner.attempt import SILENCE_S

JOBS = "jobs.json"
SIGN_EVERY_S = 5.0


@dataclass(frozen=True)
class Waiting:
    """A job that waits in a run's queue.

    Attributes:
        label: Model, preset, dataset and seed, in a few words.
        folder: Of the queue.
    """

    job_id: str
    label: str
    folder: Path

    def cancel(self) -> None:
        """Leaves word that it is not to be started.

        Raises:
            StoreError: The folder cannot be written.
        """
        try:
            (self.folder / self.job_id).touch()
        except OSError as exc:
            raise StoreError(f"cannot write to {self.folder}: {exc.strerror}") from exc


class Queue:
    """The queue of this run: a folder that is there while jobs wait.

    Args:
        runs: The folder of all jobs.
    """

    def __init__(self, runs: Path) -> None:
        self._folder = runs / f".queue-{socket.gethostname()}-{os.getpid()}"
        self._shown: dict[str, str] = {}
        self._next_sign = 0.0

    def show(self, waiting: Mapping[str, str]) -> None:
        """Says which jobs wait: their labels by id."""
        if dict(waiting) == self._shown and time.monotonic() < self._next_sign:
            return
        self._shown, self._next_sign = dict(waiting), time.monotonic() + SIGN_EVERY_S
        if not waiting:
            self.close()
            return
        with contextlib.suppress(OSError):  # a full disk is no job's trouble
            self._folder.mkdir(exist_ok=True)
            write_whole(self._folder / JOBS, json.dumps(self._shown))

    def is_cancelled(self, job_id: str) -> bool:
        """Whether somebody left word that a job is not to be started."""
        return (self._folder / job_id).exists()

    def close(self) -> None:
        """Nothing waits any more."""
        shutil.rmtree(self._folder, ignore_errors=True)


def waiting_jobs(runs: Path, silent_s: float) -> Iterator[Waiting]:
    """The jobs that wait in any run's queue.

    Args:
        silent_s: Seconds without a sign of life after which a run is gone.
    """
    for folder in sorted(runs.glob(".queue-*")):
        try:
            if time.time() - (folder / JOBS).stat().st_mtime > silent_s:
                continue
            found = json.loads((folder / JOBS).read_bytes())
        except (OSError, ValueError):  # it ended just now, or is damaged
            continue
        if isinstance(found, dict):
            yield from (Waiting(job_id, str(label), folder) for job_id, label in found.items())


def clear_queues(runs: Path) -> None:
    """Removes queues of runs that were killed."""
    for folder in runs.glob(".queue-*"):
        with contextlib.suppress(OSError):
            if time.time() - (folder / JOBS).stat().st_mtime > SILENCE_S:
                shutil.rmtree(folder, ignore_errors=True)
