"""What a run looks like while it runs: a live table, or plain lines when not on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flowbench.runner.attempt import AttemptDir, Heartbeat
from flowbench.store.records import AttemptRow

if TYPE_CHECKING:
    from flowbench.runner.decide import Decision
    from flowbench.runner.executors.base import Slot
    from flowbench.runner.plan import Job

PLAIN_EVERY_S = 15.0
PLAIN_WIDTH = 160  # of a log file, where nothing says how wide a line may be


@dataclass
class _Line:
    """What is known of one job."""

    job: Job
    state: str
    heartbeat: Heartbeat | None = None
    record: AttemptRow | None = None
    printed: str = ""
    printed_at: float = 0.0


class ProgressDisplay:
    """Keeps one line per job up to date.

    Args:
        decisions: Each job, and whether and why it runs.
        console: Prints the lines; its width decides what fits.
    """

    def __init__(self, decisions: Sequence[tuple[Job, Decision]], console: Console) -> None:
        self.console = console
        self._lines = {
            job.row.job_id: _Line(job, "waiting" if decision.starts else decision.why)
            for job, decision in decisions
        }
        self.live: Live | None = None

    def started(self, job: Job, attempt: AttemptDir, slot: Slot) -> None:
        """A worker was started."""
        self._lines[job.row.job_id].state = "starting"
        threads = f"{slot.num_threads} thread{'s' if slot.num_threads > 1 else ''}"
        self._print_line(f"{job.label}: started (attempt {attempt.number}, {threads})")

    def beat(self, job: Job, heartbeat: Heartbeat) -> None:
        """A worker reports what it is doing."""
        line = self._lines[job.row.job_id]
        line.heartbeat = heartbeat
        now = time.monotonic()
        if self.live is not None:
            self.live.update(self._table())
        elif now - line.printed_at > PLAIN_EVERY_S and line.printed != _plain(line):
            line.printed, line.printed_at = _plain(line), now
            self._print_line(f"{job.label}: {line.printed}")

    def ended(self, job: Job, record: AttemptRow) -> None:
        """An attempt has ended."""
        line = self._lines[job.row.job_id]
        line.record = record
        reason = f": {record.reason}" if record.reason else ""
        self._print_line(f"{job.label}: {record.status}{reason}")
        if self.live is not None:
            self.live.update(self._table())

    def warn(self, message: str) -> None:
        """Something went wrong that does not end the run."""
        self.console.print(Text(f"warning: {message}", style="yellow"))

    def _print_line(self, message: str) -> None:
        """Prints a line that stays, unless the live table shows the same."""
        if self.live is None:
            self.console.print(Text(message))

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name, justify in (
            ("job", "left"),
            ("", "left"),
            ("budget", "left"),
            ("steps", "right"),
            ("steps/s", "right"),
            ("validation", "right"),
            ("left", "right"),
        ):
            table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for line in self._lines.values():
            table.add_row(line.job.label, *_cells(line))
        return table


def _cells(line: _Line) -> tuple[str | Text | ProgressBar, ...]:
    beat, record = line.heartbeat, line.record
    if record is not None:
        style = "green" if record.status == "ok" else "red"
        score = "" if beat is None else _score(beat)
        seconds = f"{record.charged_s:.1f} s"
        return Text(record.status, style), seconds, f"{record.steps:,}", "", score, ""
    if beat is None:
        return Text(line.state, "dim"), "", "", "", "", ""
    bar = ProgressBar(total=1.0, completed=min(beat.progress, 1.0), width=16)
    rate = "" if beat.steps_per_s is None else f"{beat.steps_per_s:.1f}"
    return beat.doing, bar, f"{beat.step:,}", rate, _score(beat), _left(beat)


def _score(beat: Heartbeat) -> str:
    return "" if beat.score is None else f"{beat.score:.3f} {beat.score_unit}"


def _left(beat: Heartbeat) -> str:
    if not 0.0 < beat.progress < 1.0:
        return ""
    seconds = beat.charged_s * (1.0 / beat.progress - 1.0)
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _plain(line: _Line) -> str:
    beat = line.heartbeat
    if beat is None:
        return line.state
    parts = [beat.doing, f"{100 * min(beat.progress, 1.0):.0f} % of budget", f"step {beat.step:,}"]
    if beat.steps_per_s is not None:
        parts.append(f"{beat.steps_per_s:.1f} steps/s")
    if beat.score is not None:
        parts.append(f"validation {_score(beat)}")
    if _left(beat):
        parts.append(f"{_left(beat)} left")
    return ", ".join(parts)


@contextmanager
def progress_display(decisions: Sequence[tuple[Job, Decision]]) -> Iterator[ProgressDisplay]:
    """Shows the progress of a run for as long as the block lasts.

    Args:
        decisions: Each job, and whether and why it runs.

    Yields:
        The display, to be told of everything by the scheduler.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    display = ProgressDisplay(decisions, console)
    # Where nothing starts, a table of what is reused would only flicker past.
    if not console.is_terminal or not any(decision.starts for _, decision in decisions):
        yield display
        return
    with Live(display._table(), console=console, refresh_per_second=4) as live:
        display.live = live
        yield display
        display.live = None
