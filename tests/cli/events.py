"""Events of a run, as the scheduler tells them, at moments that a test sets."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from flowbench.cli.live import LiveView
from flowbench.cli.progress import ProgressDisplay, Verbosity
from flowbench.cli.tally import Tally
from flowbench.code_hash import CodeHashes
from flowbench.runner.attempt import AttemptDir, Heartbeat
from flowbench.runner.plan import Job
from flowbench.store.records import AttemptStatus
from tests.store import attempts as make

CODE = CodeHashes(core="c", model="m", dataset="d", metrics={})


def job(model: str, preset: str = "tiny", *, dataset: str = "digits", seed: int = 0) -> Job:
    """A job of which only the names matter."""
    row = make.job(model, seed, preset=preset, dataset=dataset)
    info: Any = None
    return Job(row=row, info=info, metrics=("bpd",), code=CODE, unsupported=None)


class Events:
    """A run on two slots whose clock stands still unless it is moved.

    Attributes:
        now: Seconds since the run began.
    """

    def __init__(self, jobs: Sequence[Job], folder: Path, verbosity: Verbosity = "normal") -> None:
        self.jobs, self.now = jobs, 0.0
        self._folder, self._out = folder, io.StringIO()
        self.tally = Tally(jobs, 2, lambda: self.now)
        console = Console(file=self._out, width=80)
        self.display = ProgressDisplay(
            self.tally, console, verbosity=verbosity, live=False, now=lambda: self.now
        )

    def start(self, index: int) -> AttemptDir:
        """A worker starts on one of the jobs."""
        attempt = AttemptDir(self._folder / str(index) / "1")
        attempt.path.mkdir(parents=True)
        self.display.started(self.jobs[index], attempt, 2)
        return attempt

    def beat(self, index: int, **fields: Any) -> None:
        """Its worker says what it is doing."""
        beat = Heartbeat(pid=1, beat=self.now, **fields)
        self.display.beat(self.jobs[index], beat)

    def train(self, index: int, progress: float, **fields: Any) -> None:
        """Its worker trains under a budget of 60 s, 20 steps/s, and has looked at validation."""
        known: dict[str, Any] = {
            "phase": "training",
            "done": progress,
            "progress": progress,
            "left_s": 60 * (1 - progress),
            "step": round(1200 * progress),
            "steps_per_s": 20.0,
            "score": 3 - progress,
        }
        self.beat(index, **{**known, **fields})

    def end(self, index: int, status: AttemptStatus = "ok", reason: str | None = None) -> None:
        """Its attempt ends."""
        row = self.jobs[index].row
        record = make.attempt(row, status=status, reason=reason, steps=1200)
        self.display.ended(self.jobs[index], record)

    def printed(self) -> list[str]:
        """The lines since the last time."""
        lines = self._out.getvalue().splitlines()
        self._out.seek(0)
        self._out.truncate()
        return lines


def screen(tally: Tally, width: int = 80, height: int = 24, encoding: str = "utf-8") -> list[str]:
    """The lines of the live display on a terminal of some size, without colours."""
    out = io.TextIOWrapper(io.BytesIO(), encoding, write_through=True)
    console = Console(file=out, width=width, height=height, color_system=None)
    console.print(LiveView(tally))
    out.seek(0)
    return [line.rstrip() for line in out.read().splitlines()]
