"""Where jobs run: what an executor is given, and what it is asked.

An executor starts ``flowbench worker FOLDER`` for each folder that it is given, on a machine that
sees that folder under the same name. It knows nothing of budgets or results: those are files in the
folder, and the truth of a job is there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ExecutorSpec:
    """An executor: its name, and what makes it.

    Attributes:
        name: Lower-case id, unique among all plugins.
        executor: Reference to what makes an `Executor` of `ExecutorSettings`.
        summary: What it is, in one line.

    Example:
        >>> ExecutorSpec(name="pods", executor="my_pods:Pods", summary="pods of our cluster").name
        'pods'
    """

    name: str
    executor: str
    summary: str


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings:
    """What an executor is made of.

    Attributes:
        options: Its own options, as they were given; one that it does not know is a `ConfigError`.
        num_jobs: Jobs at a time; None takes the executor's default.
        device: The kind of device that jobs run on, as far as it is known: ``auto``, ``cpu``, ...
        spawn: Start a new Python for each job, where it would do otherwise.
        num_devices: Devices of each job, all of one machine; its one worker binds itself to them
            by CUDA_VISIBLE_DEVICES.
        folder: For files of its own; seen by all machines, and made by whoever needs it.

    Example:
        >>> ExecutorSettings(options={"queue": "long"}, folder=Path("pods")).options["queue"]
        'long'
    """

    options: Mapping[str, str] = field(default_factory=dict)
    num_jobs: int | None = None
    device: str = "auto"
    spawn: bool = False
    num_devices: int = 1
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Room for one job on this machine.

    Attributes:
        index: Which of the executor's slots.
        num_threads: CPU threads of its worker.
        cores: Cores that it stays on; None leaves them to the system.
        environment: Variables that bind it to its devices.

    Example:
        >>> Slot(index=0, num_threads=2, cores=(0, 1)).environment
        {}
    """

    index: int
    num_threads: int
    cores: tuple[int, ...] | None = None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lifeline:
    """Open files of the run that a worker on the same machine inherits.

    Attributes:
        lock: Holds the job's lock for as long as it is open anywhere.
        alive: Reading end of a pipe, whose other end goes with the run; None for a worker that
            outlives it.

    Example:
        >>> Lifeline(lock=7, alive=None).lock
        7
    """

    lock: int
    alive: int | None


@dataclass(frozen=True, kw_only=True)
class Submission:
    """An attempt that is to run.

    Attributes:
        folder: Its folder, in which its work order is written.
        slot: Which of the executor's slots it takes; None where it has none.
        lifeline: What its worker inherits, where it has slots.

    Example:
        >>> Submission(folder=Path("results/runs/a-job/1")).slot is None
        True
    """

    folder: Path
    slot: Slot | None = None
    lifeline: Lifeline | None = None


@dataclass(frozen=True, kw_only=True)
class JobState:
    """Where a job stands by its executor.

    Attributes:
        phase: ``waiting`` until it is started, then ``running``, then ``ended``; one that is put
            back into a queue waits again.
        why: What more there is to say, such as for what it waits, in a few words.
        exit_status: Of a worker that has ended, negative for a signal; None where it is not known.

    Example:
        >>> JobState(phase="waiting", why="Resources").why
        'Resources'
    """

    phase: Literal["waiting", "running", "ended"]
    why: str = ""
    exit_status: int | None = None


class Executor(ABC):
    """Runs attempts somewhere.

    Attributes:
        slots: Room for jobs at a time, on this machine, whose workers end with the run. Empty where
            there is a queue that outlives the run: it is given all jobs at once, and its workers
            hold themselves to their limits.

    Example:
        >>> class Pods(Executor):
        ...     def submit(self, submissions):
        ...         return [submission.folder.parent.name for submission in submissions]
        ...     def status(self, ids):
        ...         return {job: JobState(phase="running") for job in ids}
        ...     def cancel(self, job, *, gently):
        ...         pass
        ...     def log(self, job):
        ...         return ""
        >>> Pods().submit([Submission(folder=Path("results/runs/a-job/1"))])
        ['a-job']
    """

    slots: tuple[Slot, ...] = ()

    @abstractmethod
    def submit(self, submissions: Sequence[Submission]) -> Sequence[str]:
        """Takes attempts.

        Args:
            submissions: The attempts; where there are slots, one.

        Returns:
            An id for each, by which it is known from now on, to other processes too.

        Raises:
            ExecutorError: It takes none of them: what was asked, and what is wrong with it.
        """

    @abstractmethod
    def status(self, ids: Collection[str]) -> Mapping[str, JobState]:
        """Where jobs stand; asked many times a second.

        Returns:
            The states, without those of jobs of which nothing can be learnt now.
        """

    @abstractmethod
    def cancel(self, job: str, *, gently: bool) -> None:
        """Stops a job and all that it started, or keeps it from being started.

        Args:
            job: Its id.
            gently: Ask it by SIGTERM, so that it saves its state; else end it at once.
        """

    @abstractmethod
    def log(self, job: str) -> str:
        """The end of what it has written of a job, besides the log in the attempt's folder.

        Args:
            job: Its id.
        """

    def held_bytes(self, job: str) -> int | None:
        """Memory that a job and all that it started hold; None where that cannot be told.

        Args:
            job: Its id.
        """
        del job
        return None

    def close(self) -> None:  # noqa: B027  # most have nothing to end
        """Ends what it needs to start workers; those that run go on."""
