"""What an executor is: slots, and a way to start a worker in one of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Protocol

from flowbench.runner.attempt import AttemptDir


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


class Executor(ABC):
    """Starts workers; knows nothing of jobs, budgets or results."""

    @property
    @abstractmethod
    def slots(self) -> tuple[Slot, ...]:
        """Room for jobs that run at the same time."""

    @abstractmethod
    def launch(self, attempt: AttemptDir, slot: Slot) -> Handle:
        """Starts the worker of an attempt whose work order is written."""
