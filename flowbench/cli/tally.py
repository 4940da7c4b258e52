"""What is known of the jobs of a run while it runs: how many are where, and how long all take."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flowbench.runner.attempt import AttemptDir, Heartbeat
from flowbench.store.records import AttemptRow, JobRow

if TYPE_CHECKING:
    from flowbench.runner.plan import Job  # imports torch, which `flowbench status` can do without

State = Literal["done", "running", "waiting", "pruned", "stopped", "failed"]
STATES: tuple[State, ...] = ("done", "running", "waiting", "pruned", "stopped", "failed")
_ENDS: dict[str, State] = {"ok": "done", "pruned": "pruned", "preempted": "stopped"}


@dataclass
class JobState:
    """What is known of one job.

    Attributes:
        begun: Moment at which its worker was started.
        heartbeat: Its worker's latest.
        record: How it ended.
        took_s: Seconds from its start to its end.
        queued: Which queue has it, and for what it waits there; empty for that of its run.
    """

    row: JobRow
    attempt: AttemptDir | None = None
    begun: float = 0.0
    heartbeat: Heartbeat | None = None
    record: AttemptRow | None = None
    took_s: float = 0.0
    queued: str = ""

    @property
    def state(self) -> State:
        """Where it stands."""
        # First: a job that has ended still has the last heartbeat of its worker.
        if self.record is not None:
            return _ENDS.get(self.record.status, "failed")
        return "waiting" if self.attempt is None else "running"

    @property
    def left_s(self) -> float | None:
        """Seconds until its phase ends, and in training until the test split is evaluated too.

        None where that is not known.
        """
        beat = self.heartbeat
        if beat is None or beat.left_s is None or self.record is not None:
            return None
        return beat.left_s + (beat.evaluation_s or 0.0)


class Tally:
    """The jobs of a run.

    Args:
        jobs: Those that need a worker, in order.
        num_slots: How many run at a time.
        now: Monotonic time in seconds.
        to_come: How many jobs follow that are not known yet, as trials of a sweep.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        num_slots: int,
        now: Callable[[], float],
        to_come: Callable[[], int] = lambda: 0,
    ) -> None:
        self._to_come = to_come
        self.states: dict[str, JobState] = {}
        for job in jobs:
            self.add(job)
        self._num_slots, self._now = num_slots, now
        self._begun = now()

    def add(self, job: Job) -> None:
        """A job more needs a worker, or one that has ended: a trial that is to be measured."""
        known = self.states.get(job.row.job_id)
        if known is None or known.record is not None:
            self.states[job.row.job_id] = JobState(job.row)

    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self._now() - self._begun

    def knows_ends(self) -> bool:
        """Whether a job has shown what measuring takes, of which training tells nothing."""
        return self.counts()["done"] > 0

    def placed(self, job: Job, where: str) -> bool:
        """A queue has a job, which waits there.

        Returns:
            Whether it was known to wait there, perhaps for something else.
        """
        state = self.states[job.row.job_id]
        known = state.queued != ""
        state.queued, state.attempt, state.heartbeat = where, None, None
        return known

    def started(self, job: Job, attempt: AttemptDir) -> None:
        """A worker was started."""
        state = self.states[job.row.job_id]
        state.queued = ""
        state.attempt, state.begun = attempt, self._now()

    def ended(self, job: Job, record: AttemptRow) -> JobState:
        """An attempt has ended."""
        state = self.states[job.row.job_id]
        state.record = record
        if state.attempt is not None:  # else another run has done it
            state.took_s = self._now() - state.begun
        return state

    def counts(self) -> Counter[State]:
        """How many jobs stand where."""
        counts = Counter(state.state for state in self.states.values())
        if to_come := self._to_come():
            counts["waiting"] += to_come
        return counts

    def left_s(self) -> float | None:
        """Seconds until all jobs have ended, from what those before them took.

        Returns:
            An estimate, and before `knows_ends` what is left at least; None where nothing tells.
        """
        typical = self._typical_s()
        waiting = self.counts()["waiting"]
        running = [
            self._job_left_s(s, typical) for s in self.states.values() if s.state == "running"
        ]
        known = [left for left in running if left is not None]
        # A sum with an unknown part is no estimate, not even a lower one that one would believe.
        if not running or len(known) < len(running) or (waiting and typical is None):
            return None
        # Each job that waits goes to the slot that is free first.
        slots = known + [0.0] * (self._num_slots - len(known))
        heapq.heapify(slots)
        for _ in range(waiting):
            heapq.heappush(slots, heapq.heappop(slots) + (typical or 0.0))
        return max(slots)

    def _typical_s(self) -> float | None:
        """What a job takes: the mean of those that are done; before, of those that run."""
        states = self.states.values()
        took = [s.took_s for s in states if s.state == "done" and s.attempt is not None]
        # What is done tells most; until then each job that runs is taken as far as it sees itself.
        if not took:
            took = [self._now() - s.begun + s.left_s for s in states if s.left_s is not None]
        return sum(took) / len(took) if took else None

    def _job_left_s(self, state: JobState, typical: float | None) -> float | None:
        """Until a job that runs has ended: its phase at least, and what jobs take as a rule."""
        known = [state.left_s] if state.left_s is not None else []
        if typical is not None:
            known.append(max(0.0, typical - (self._now() - state.begun)))
        return max(known, default=None)
