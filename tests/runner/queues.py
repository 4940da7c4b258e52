"""An executor of another plugin, whose queue does what a test says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from flowbench.api import (
    ConfigError,
    Executor,
    ExecutorError,
    ExecutorSettings,
    ExecutorSpec,
    JobState,
    Submission,
    hookimpl,
)

FLOWBENCH_API_VERSION = 2


@hookimpl
def register_executors() -> list[ExecutorSpec]:
    return [
        ExecutorSpec(name="fake-queue", executor="queues:FakeQueue", summary="a queue of tests")
    ]


class FakeQueue(Executor):
    """Gives folders numbers, and lets a test say what becomes of them."""

    given: ClassVar[list[list[Path]]] = []
    states: ClassVar[dict[str, JobState]] = {}
    cancelled: ClassVar[list[str]] = []
    refusal: ClassVar[str] = ""
    goes_on: ClassVar[Callable[[str], None]] = lambda job: None

    def __init__(self, settings: ExecutorSettings) -> None:
        if unknown := set(settings.options) - {"room"}:
            raise ConfigError(f"fake-queue knows no {unknown}; expected room")
        self.settings = settings

    def submit(self, submissions: Sequence[Submission]) -> Sequence[str]:
        if self.refusal:
            raise ExecutorError(self.refusal)
        self.given.append([s.folder for s in submissions])
        names = [f"{len(self.given)}_{index}" for index in range(len(submissions))]
        self.states.update(dict.fromkeys(names, JobState(phase="waiting", why="Resources")))
        return names

    def status(self, ids: Collection[str]) -> Mapping[str, JobState]:
        for job in ids:
            type(self).goes_on(job)
        return {job: self.states[job] for job in ids if job in self.states}

    def cancel(self, job: str, *, gently: bool) -> None:
        self.cancelled.append(job)
        self.states[job] = JobState(phase="ended", why="CANCELLED")

    def log(self, job: str) -> str:
        return f"step\njob {job} is out of luck\n\n"
