"""Who watches a run."""

from __future__ import annotations

from typing import Protocol

from flowbench.api.executors import JobState
from flowbench.runner.attempt import AttemptDir, Heartbeat, Placement
from flowbench.runner.plan import Job
from flowbench.store.records import AttemptRow


class RunObserver(Protocol):
    """Who watches a run: the terminal, or a test."""

    def added(self, job: Job) -> None:
        """A job more is to run: in the place of one that ran out of memory, or of a sweep."""
        ...

    def placed(self, job: Job, placement: Placement, state: JobState | None) -> None:
        """A queue has a job, which waits there to be begun; told again as long as it does."""
        ...

    def started(self, job: Job, attempt: AttemptDir, num_threads: int) -> None:
        """A worker was started."""
        ...

    def beat(self, job: Job, heartbeat: Heartbeat) -> None:
        """A worker says what it is doing."""
        ...

    def ended(self, job: Job, record: AttemptRow) -> None:
        """An attempt has ended, and its record is written; perhaps by another run."""
        ...

    def stopping(self, num_jobs: int) -> None:
        """The user has interrupted the run, and jobs that run save their state."""
        ...

    def warn(self, message: str) -> None:
        """Something went wrong that does not end the run."""
        ...
