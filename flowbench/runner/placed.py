"""Attempts that an executor's queue has, which any run can follow, whichever gave them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from flowbench.api.executors import Executor, ExecutorSettings, JobState
from flowbench.errors import BRIEF, FlowbenchError, StoreError, printable
from flowbench.registry import Registry
from flowbench.runner.attempt import AttemptDir, Placement, ResultsDir
from flowbench.store.records import AttemptRow

IN_QUEUE = "in the queue as"
"""With this begins why a job waits that an executor has."""
INTERRUPTED = frozenset({"preempted", "killed"})


class Placed:
    """Asks executors of what they have.

    Args:
        registry: Knows the executors.
        results: The results folder.
    """

    def __init__(self, registry: Registry, results: ResultsDir) -> None:
        self._registry, self._results = registry, results
        self._made: dict[str, Executor | FlowbenchError] = {}

    def make(self, name: str, **settings: object) -> Executor:
        """Makes an executor.

        Args:
            name: Its name.
            settings: Those of `ExecutorSettings` but the folder.

        Raises:
            FlowbenchError: There is none of that name, or it cannot be had here.
        """
        entry = self._registry.executor(name)
        folder = self._results.path / "executors" / name
        made = entry.resolve(entry.spec.executor)(ExecutorSettings(folder=folder, **settings))  # type: ignore[arg-type]
        return made  # type: ignore[no-any-return]

    def executor(self, placement: Placement) -> Executor:
        """The executor that has an attempt.

        Raises:
            FlowbenchError: It cannot be had here.
        """
        key = in_words(placement.executor, placement.options)
        if key not in self._made:
            try:
                self._made[key] = self.make(placement.executor, options=placement.options)
            except FlowbenchError as exc:  # once is enough
                self._made[key] = exc
        found = self._made[key]
        if isinstance(found, FlowbenchError):
            raise found
        return found

    def state(self, placement: Placement) -> JobState | None:
        """Where a job stands; None where that cannot be learnt here and now."""
        try:
            return self.executor(placement).status([placement.job]).get(placement.job)
        except FlowbenchError:
            return None

    def how_it_ended(self, placement: Placement) -> str:
        """What can be told of a job that left no record, in one line."""
        said, log = f"{placement} ended without a record", ""
        state = self.state(placement)
        with contextlib.suppress(FlowbenchError):
            log = self.executor(placement).log(placement.job)
        said += f" ({state.why})" if state is not None and state.why else ""
        last = next((line for line in reversed(log.splitlines()) if line.strip()), "")
        return said + (f"; its log ends: {printable(last, BRIEF)}" if last else "")

    def of_job(self, job_id: str) -> tuple[AttemptDir, Placement, JobState | None] | None:
        """The attempt at a job that a queue has, or will begin again.

        Returns:
            The attempt, who has it, and where it stands; None if none has.
        """
        attempts = self._results.attempts(job_id)
        placement = attempts[-1].placement() if attempts else None
        if placement is None or is_over(attempts[-1]):
            return None
        state = self.state(placement)
        gone = state is not None and state.phase == "ended"
        # Of one that was interrupted nothing is known but that: whoever starts it next has it.
        if gone or (state is None and (attempts[-1].ended or attempts[-1].is_asked_to_stop())):
            return None
        return attempts[-1], placement, state


def is_over(attempt: AttemptDir) -> bool:
    """Whether an attempt has ended and is not to be begun again."""
    try:
        record: AttemptRow | None = attempt.record()
    except StoreError:
        return True
    if record is None:
        return False
    return record.status not in INTERRUPTED or attempt.is_asked_to_stop()


def in_words(executor: str, options: Mapping[str, str]) -> str:
    """An executor with its options, as a record names it."""
    return " ".join([executor, *(f"{key}={value}" for key, value in sorted(options.items()))])
