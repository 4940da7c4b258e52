"""TensorBoard: one of its runs for each attempt, under ``tensorboard/`` of the results folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flowbench.api import hookimpl
from flowbench.api.trackers import JobOutcome, TrackedJob, TrackerSettings, Validation
from flowbench.errors import PluginLoadError

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

FOLDER = "tensorboard"


class TensorBoard:
    """Writes event files that ``tensorboard --logdir RESULTS/tensorboard`` shows.

    Raises:
        PluginLoadError: TensorBoard is not installed.
    """

    def __init__(self, settings: TrackerSettings) -> None:
        try:
            import tensorboard

            # Here, before any job runs: it takes as long as all that is written of one.
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as exc:
            raise PluginLoadError(
                "tensorboard is not installed; pip install 'flowbench[tensorboard]'"
            ) from exc
        del tensorboard
        self._new_writer: Any = SummaryWriter
        self._folder = settings.results / FOLDER
        self._writers: dict[str, SummaryWriter] = {}

    @hookimpl
    def job_started(self, job: TrackedJob) -> None:
        """Opens the event file of an attempt, with its configuration as text."""
        writer: Any = self._new_writer(str(self._folder / job.job_id / str(job.attempt)))
        writer.add_text("job", f"{job.label}, {job.budget}")
        writer.add_text("config", f"```json\n{json.dumps(job.config, indent=2)}\n```")
        self._writers[job.job_id] = writer

    @hookimpl
    def validated(self, job: TrackedJob, validation: Validation) -> None:
        """Adds a point to each curve, by its step."""
        self._add(job, validation.values, validation.step)
        self._add(job, {"charged_s": validation.charged_s}, validation.step)

    @hookimpl
    def job_ended(self, job: TrackedJob, outcome: JobOutcome) -> None:
        """Adds what was measured as ``result/...``, and closes the file."""
        if job.job_id not in self._writers:  # it ended before it began here
            return
        self._add(job, {f"result/{k}": v for k, v in outcome.values.items()}, outcome.steps)
        writer: Any = self._writers.pop(job.job_id)
        writer.add_text("status", f"{outcome.status} {outcome.reason or ''}".rstrip())
        writer.close()

    @hookimpl
    def run_ended(self) -> None:
        """Closes what is open."""
        while self._writers:
            writer: Any = self._writers.popitem()[1]
            writer.close()

    def _add(self, job: TrackedJob, values: Any, step: int) -> None:
        writer: Any = self._writers[job.job_id]
        for name, value in values.items():
            writer.add_scalar(name, value, step)
