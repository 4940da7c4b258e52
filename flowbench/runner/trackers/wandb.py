"""Weights & Biases: one of its runs for each attempt, kept under ``wandb/`` of the results folder.

Offline unless ``WANDB_MODE`` says otherwise: ``wandb sync RESULTS/wandb/offline-run-*`` sends them.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from flowbench.api import hookimpl
from flowbench.api.trackers import JobOutcome, TrackedJob, TrackerSettings, Validation
from flowbench.errors import PluginLoadError

PROJECT = "flowbench"


class WandB:
    """Logs curves, and what was measured as a run's summary.

    Raises:
        PluginLoadError: W&B is not installed.
    """

    def __init__(self, settings: TrackerSettings) -> None:
        if importlib.util.find_spec("wandb") is None:
            _imported()  # says what to install
        self._folder = settings.results
        self._wandb: Any = None
        self._runs: dict[str, Any] = {}

    @hookimpl
    def run_started(self) -> None:
        """Imports W&B and starts its process, while workers start: it takes a second."""
        self._wandb = _imported()
        _ = self._wandb.Api  # the first run would import it
        self._wandb.setup()

    @hookimpl
    def job_started(self, job: TrackedJob) -> None:
        """Begins a run with the job's configuration."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._runs[job.job_id] = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=str(self._folder),
            mode=os.environ.get("WANDB_MODE", "offline"),
            id=f"{job.job_id}-{job.attempt}",
            name=job.label,
            group=f"{job.model}:{job.preset} on {job.dataset}",
            config={**job.config, "seed": job.seed, "budget": job.budget},
            reinit="create_new",  # several jobs run at a time
            settings=self._wandb.Settings(
                console="off",
                silent=True,
                x_disable_stats=True,
                x_save_requirements=False,  # versions are in records; to list them takes 0.2 s
            ),
        )

    @hookimpl
    def validated(self, job: TrackedJob, validation: Validation) -> None:
        """Adds a point to each curve, by its step."""
        values = {**validation.values, "charged_s": validation.charged_s}
        self._runs[job.job_id].log(values, step=validation.step)

    @hookimpl
    def job_ended(self, job: TrackedJob, outcome: JobOutcome) -> None:
        """Sets the summary, and ends the run."""
        run = self._runs.pop(job.job_id, None)
        if run is None:  # it ended before it began here
            return
        run.summary.update({**outcome.values, "status": outcome.status})
        if outcome.reason is not None:
            run.summary.update({"reason": outcome.reason})
        run.finish(exit_code=int(outcome.status != "ok"))

    @hookimpl
    def run_ended(self) -> None:
        """Ends what has not ended."""
        while self._runs:
            self._runs.popitem()[1].finish(exit_code=1)


def _imported() -> Any:
    try:
        import wandb
    except ImportError as exc:
        raise PluginLoadError("wandb is not installed; pip install 'flowbench[wandb]'") from exc
    return wandb
