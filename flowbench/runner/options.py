"""What all jobs of a run share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flowbench.registry import PluginSelection
from flowbench.runner.placed import in_words


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What all jobs of a run share.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        timeout_s: Seconds that an attempt may spend outside its budget.
        max_rss: Bytes of memory that a worker may hold, with all that it started; None for its
            share of the machine's.
        wait: Wait for jobs that other runs are at work on.
        detach: Leave workers at work when this run ends before them.
        executor: Name of where jobs run.
        executor_options: What is asked for there.
        num_devices: Devices of each job.
        half_batch: Try what runs out of memory again with half of a batch at a time.
    """

    device: str
    data_dir: Path
    plugins: PluginSelection
    timeout_s: float
    command: tuple[str, ...]
    max_rss: int | None = None
    wait: bool = True
    detach: bool = False
    half_batch: bool = False
    num_devices: int = 1
    executor: str = "local"
    executor_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def elsewhere(self) -> str | None:
        """The executor and what is asked of it, in words; None for this machine alone."""
        return None if self.executor == "local" else in_words(self.executor, self.executor_options)
