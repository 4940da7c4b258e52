"""What an executor is: slots, and a way to start a worker in one of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

LOG = "log.txt"  # in an attempt's folder: all that its worker printed


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Room for one job.

    Attributes:
        index: Which of the executor's slots.
        num_threads: CPU threads of its worker.
        cores: Cores that it stays on; None leaves them to the system.
        environment: Variables that bind it to its devices.
    """

    index: int
    num_threads: int
    cores: tuple[int, ...] | None = None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lifeline:
    """Open files of the run that a worker inherits.

    Attributes:
        lock: Holds the job's lock for as long as it is open anywhere.
        alive: Reading end of a pipe, whose other end goes with the run; None for a worker that
            outlives it.
    """

    lock: int
    alive: int | None


class Handle(Protocol):
    """A worker that was started."""

    def poll(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        ...

    def terminate(self) -> None:
        """Asks it, and all that it started, to stop."""
        ...

    def kill(self) -> None:
        """Ends it, and all that it started, at once."""
        ...

    def held_bytes(self) -> int | None:
        """Memory that it and all that it started hold; None where that cannot be told."""
        ...


class Executor(ABC):
    """Starts workers; knows nothing of jobs, budgets or results."""

    @property
    @abstractmethod
    def slots(self) -> tuple[Slot, ...]:
        """Room for jobs that run at the same time."""

    @abstractmethod
    def launch(self, folder: Path, slot: Slot, lifeline: Lifeline) -> Handle:
        """Starts a worker, whose output is appended to `LOG`.

        Args:
            lifeline: What it inherits; the numbers of the files are its further arguments.
            folder: Folder of the attempt, in which its work order is written.
            slot: A slot of this executor that is free.
        """

    def close(self) -> None:  # noqa: B027  # most have nothing to end
        """Ends what it needs to start workers; those that run go on."""
