"""Jobs that a queue has, which outlives the run: they belong to no run.

Any can follow them, by what the executor says and the attempt's own files, and they go on without.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flowbench.api.executors import Executor, JobState, Submission
from flowbench.errors import ExecutorError
from flowbench.runner.attempt import PLACED, AttemptDir, Placement
from flowbench.runner.obituary import end_of, obituary
from flowbench.runner.observer import RunObserver
from flowbench.runner.options import RunOptions
from flowbench.runner.outcomes import Outcomes
from flowbench.runner.ownership import Claim
from flowbench.runner.placed import Placed, is_over
from flowbench.runner.plan import Job
from flowbench.runner.watchdog import KILL_AFTER_S
from flowbench.store.records import AttemptRow

LOOK_EVERY_S = 1.0
SETTLE_S = 10.0  # until a record is seen that was written on another machine


@dataclass
class _Followed:
    """A job that a queue has."""

    job: Job
    attempt: AttemptDir
    placement: Placement
    executor: Executor
    begun: int = 0
    end_at: float = math.inf


class Followed:
    """Gives jobs to an executor that has no slots, and follows them to their end.

    Args:
        attempts: All attempts at a job, by its id.
        placed: Asks of jobs that a queue has.
        ended: Takes the record of each attempt that has ended.
    """

    def __init__(
        self,
        attempts: Callable[[str], Sequence[AttemptDir]],
        placed: Placed,
        observer: RunObserver,
        outcomes: Outcomes,
        ended: Callable[[Job, AttemptDir, AttemptRow], None],
    ) -> None:
        self._attempts, self._placed, self._observer = attempts, placed, observer
        self._outcomes, self._ended = outcomes, ended
        self._followed: list[_Followed] = []
        self._look_at = 0.0

    def __len__(self) -> int:
        return len(self._followed)

    def clear(self) -> None:
        """Follows none of them any more; a queue keeps what it has."""
        self._followed.clear()

    def add(
        self, job: Job, attempt: AttemptDir, placement: Placement, state: JobState | None
    ) -> None:
        """Follows a job that a queue has.

        Raises:
            FlowbenchError: The executor cannot be asked here.
        """
        executor = self._placed.executor(placement)
        self._followed.append(_Followed(job, attempt, placement, executor))
        self._observer.placed(job, placement, state)

    def watch(self) -> None:
        """Looks after all of them, now and then."""
        if time.monotonic() < self._look_at:
            return
        # A look is several questions to a file system that many share.
        self._look_at = time.monotonic() + LOOK_EVERY_S * max(1, len(self._followed) / 100)
        for followed in list(self._followed):
            self._look_after(followed)

    def _look_after(self, followed: _Followed) -> None:
        """Tells how a job stands that a queue has, and ends it where somebody asks for that."""
        # It may have been begun again, as another attempt; or somebody has removed its folder.
        *_, attempt = [followed.attempt, *self._attempts(followed.job.row.job_id)]
        followed.attempt = attempt
        attempt.trim_log()
        state = followed.executor.status([followed.placement.job]).get(followed.placement.job)
        heartbeat, now = attempt.heartbeat(), time.monotonic()
        gone = state is not None and state.phase == "ended"
        if is_over(attempt) or (gone and attempt.ended):
            self._close_off(followed)
            return
        if heartbeat is None or attempt.ended:
            self._observer.placed(followed.job, followed.placement, state)
        else:
            if followed.begun != attempt.number:
                followed.begun = attempt.number
                self._observer.started(followed.job, attempt, attempt.order().num_threads)
            self._observer.beat(followed.job, heartbeat)
        if gone:
            followed.end_at = min(followed.end_at, now + SETTLE_S)
            if now >= followed.end_at:
                self._close_off(followed)
        elif attempt.is_asked_to_stop():
            # One that has begun sees that itself, and saves its state.
            followed.end_at = min(followed.end_at, now + (KILL_AFTER_S if heartbeat else 0.0))
            if now >= followed.end_at:
                with contextlib.suppress(ExecutorError):  # it has ended just now, or is asked again
                    followed.executor.cancel(followed.placement.job, gently=False)
        else:
            followed.end_at = math.inf  # it was between two starts

    def _close_off(self, followed: _Followed) -> None:
        self._followed.remove(followed)
        job, attempt = followed.job, followed.attempt
        record = self._outcomes.of(job.row, attempt, lambda: self._obituary(followed))
        self._ended(job, attempt, record)

    def _obituary(self, followed: _Followed) -> AttemptRow:
        attempt, seen = followed.attempt, self._placed.how_it_ended(followed.placement)
        return obituary(followed.job.row, attempt, *end_of(attempt, seen))


def hand_over(
    executor: Executor, handed: Sequence[tuple[AttemptDir, Claim]], options: RunOptions
) -> list[Placement]:
    """Gives a queue that outlives this run all that there is for it, at once.

    Args:
        handed: Attempts of which nothing has begun, and the claims to their jobs, which are let go.

    Returns:
        Where each of them is.
    """
    try:
        names = executor.submit([Submission(folder=attempt.path) for attempt, _ in handed])
    except BaseException:
        for attempt, _ in handed:
            shutil.rmtree(attempt.path, ignore_errors=True)
        raise
    else:
        given = [
            Placement(executor=options.executor, options=options.executor_options, job=name)
            for name in names
        ]
        for (attempt, _), placement in zip(handed, given, strict=True):
            # Before it is let go: nobody may take it for one that died.
            attempt.write(PLACED, placement.model_dump_json())
        return given
    finally:
        for _, taken in handed:
            with contextlib.suppress(OSError):  # the folder is gone
                taken.release()
