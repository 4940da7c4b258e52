"""What a run says while it runs: a live display on a terminal, elsewhere plain lines; on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal

from rich.console import Console
from rich.live import Live
from rich.text import Text

from flowbench.api import executors
from flowbench.cli.columns import visible
from flowbench.cli.live import LiveView, time_text
from flowbench.cli.quantities import (
    clock_text,
    count_text,
    percent_text,
    rate_text,
    score_text,
)
from flowbench.cli.tally import JobState, Tally
from flowbench.errors import BRIEF, printable
from flowbench.runner.attempt import AttemptDir, Heartbeat, Placement
from flowbench.runner.placed import IN_QUEUE
from flowbench.runner.plan import Job
from flowbench.store.attempt_files import CURVES, read_curves
from flowbench.store.records import AttemptRow, CurvePoint

PLAIN_EVERY_S = 15.0

Verbosity = Literal["quiet", "normal", "verbose"]


class ProgressDisplay:
    """Keeps what is known of the jobs, and prints the lines that stay.

    Without a live display, a job gets a line when it has ended and, before, one every
    `PLAIN_EVERY_S` if something has changed.

    Args:
        tally: The jobs.
        console: Prints the lines.
        verbosity: Quiet prints warnings alone; verbose also where attempts are, and each look at
            validation.
        live: Whether the jobs' own lines are shown by a live display.
        now: Monotonic time in seconds.
    """

    def __init__(
        self,
        tally: Tally,
        console: Console,
        *,
        verbosity: Verbosity,
        live: bool,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tally, self._console, self._now = tally, console, now
        self._quiet, self._verbose = verbosity == "quiet", verbosity == "verbose"
        self._plain = not self._quiet and not live
        self._printed: dict[str, tuple[str, float]] = {}
        self._num_looks: dict[str, int] = {}

    def added(self, job: Job) -> None:
        """A job more is to run: in the place of one that ran out of memory, or of a sweep."""
        self._tally.add(job)
        if job.instead_of is not None and not self._quiet:
            self._print(f"{job.label}: in place of {job.instead_of}, which ran out of memory")

    def placed(self, job: Job, placement: Placement, state: executors.JobState | None) -> None:
        """A queue has a job, which waits there."""
        why = "no answer" if state is None else state.why if state.phase == "waiting" else ""
        known = self._tally.placed(job, f"{placement.job} {why}".rstrip())
        if self._plain and not known:
            self._print(f"{job.label}: {IN_QUEUE} {placement}{why and f' ({why})'}")

    def started(self, job: Job, attempt: AttemptDir, num_threads: int) -> None:
        """A worker was started."""
        self._tally.started(job, attempt)
        self._printed[job.row.job_id] = ("", self._now())
        if self._verbose:
            threads = count_text(num_threads, "thread")
            self._print(f"{job.label}: attempt {attempt.number}, {threads}, {attempt.path}")

    def beat(self, job: Job, heartbeat: Heartbeat) -> None:
        """A worker reports what it is doing."""
        state = self._tally.states[job.row.job_id]
        again = state.heartbeat is not None and state.heartbeat.beat == heartbeat.beat
        state.heartbeat = heartbeat
        if again:  # workers write one a second, and are looked at more often
            return
        if self._verbose:
            self._print_looks(state)
        last, at = self._printed[job.row.job_id]
        line = _doing(heartbeat)
        # Only what has changed: a log of a day must not be a line every 15 s of waiting.
        if self._plain and line != last and self._now() - at >= PLAIN_EVERY_S:
            self._printed[job.row.job_id] = (line, self._now())
            self._print(f"{job.label}: {line}")

    def ended(self, job: Job, record: AttemptRow) -> None:
        """An attempt has ended."""
        state = self._tally.ended(job, record)
        if self._verbose:
            self._print_looks(state)
        if self._plain:
            self._print(f"{job.label}: {_outcome(state)} [{self._standing()}]")

    def stopping(self, num_jobs: int) -> None:
        """The user has interrupted the run, and jobs that run save their state."""
        jobs = "1 job saves its" if num_jobs == 1 else f"{num_jobs} jobs save their"
        self._print(f"stopping: {jobs} state first (Ctrl-C again ends at once, unsaved)")

    def warn(self, message: str) -> None:
        """Something went wrong that does not end the run."""
        self._print(f"warning: {message}", "yellow")

    def _print(self, message: str, style: str = "") -> None:
        say(self._console, message, style)

    def _print_looks(self, state: JobState) -> None:
        """The looks at validation since the last time."""
        job_id = state.row.job_id
        curve: tuple[CurvePoint, ...] = ()
        if state.attempt is not None:
            with suppress(OSError, ValueError):  # none yet, or damaged: its record will say so
                curve = read_curves(state.attempt.path / CURVES)
        for point in curve[self._num_looks.get(job_id, 0) :]:
            scores = {"": point.score("raw"), " of averaged weights": point.score("ema")}
            said = [f"{score_text(*s)}{whose}" for whose, s in scores.items() if s is not None]
            said += [] if point.loss is None else [f"training loss {point.loss:.4g}"]
            where = f"look at step {point.step:,}, {percent_text(point.progress)} of budget"
            self._print(f"{state.row.label}: {where}: {', '.join(said) or 'no likelihood'}")
        self._num_looks[job_id] = len(curve)

    def _standing(self) -> str:
        counts, time_left = self._tally.counts(), time_text(self._tally)
        num = counts.total()
        ended = f"{num - counts['running'] - counts['waiting']} of {num} job{'s' * (num > 1)}"
        return f"{ended}, {time_left}" if time_left else ended


def _doing(beat: Heartbeat) -> str:
    """What a worker does, in one line that differs where something has changed."""
    parts = [beat.doing]
    if beat.phase in ("training", "looking", "paused"):
        parts += [f"{percent_text(beat.progress)} of budget", f"step {beat.step:,}"]
        if beat.steps_per_s:
            parts.append(f"{rate_text(beat.steps_per_s)} steps/s")
    elif beat.done is not None:
        parts.append(percent_text(beat.done))
    if beat.score is not None:
        parts.append(f"validation {score_text(beat.score, beat.score_unit)}")
    if beat.left_s is not None:
        parts.append(f"{clock_text(beat.left_s)} left")
    if beat.evaluation_s is not None:
        parts.append(f"then about {clock_text(beat.evaluation_s)} of evaluation")
    return ", ".join(parts)


def _outcome(state: JobState) -> str:
    record, beat = state.record, state.heartbeat
    if record is None:
        return ""
    parts = [f"{record.status} after {clock_text(state.took_s)}", f"{record.steps:,} steps"]
    if record.reason:
        parts.append(printable(record.reason, BRIEF))
    elif beat is not None and beat.score is not None:
        parts.append(f"validation {score_text(beat.score, beat.score_unit)}")
    return ", ".join(parts)


def say(console: Console, message: str, style: str = "") -> None:
    """Prints a line: wrapped between words on a terminal, else whole, for grep."""
    console.print(Text(visible(message), style), soft_wrap=not console.is_terminal)


@contextmanager
def progress_display(
    jobs: Sequence[Job],
    num_slots: int,
    verbosity: Verbosity,
    to_come: Callable[[], int] = lambda: 0,
) -> Iterator[ProgressDisplay]:
    """Shows the progress of a run for as long as the block lasts.

    Args:
        jobs: Those that need a worker.
        num_slots: How many run at a time.
        to_come: How many jobs follow that are not known yet.

    Yields:
        The display, to be told of everything by the scheduler.
    """
    # Standard output is for the table, which may be piped.
    console = Console(stderr=True)
    tally = Tally(jobs, num_slots, time.monotonic, to_come)
    # A dumb terminal cannot go back to lines that it has printed.
    live = bool(jobs) and console.is_interactive and verbosity != "quiet"
    display = ProgressDisplay(tally, console, verbosity=verbosity, live=live)
    if not live:
        yield display
        return
    # Four times a second: bars move without flicker, and drawing costs jobs no core.
    with Live(LiveView(tally), console=console, refresh_per_second=4):
        yield display
    console.print()
