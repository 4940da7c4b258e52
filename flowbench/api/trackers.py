"""Whom a run is told to: what happens in it, as hooks, and what they are given.

A tracker is an object with any of the hooks below as methods, each marked with `hookimpl`; a method
may leave out arguments that it does not need. It lives in the process of the run, not in those of
its jobs, where its hooks are called one after the other in a thread that trackers share: nothing
that it does costs a job's budget or holds up a run but at its end, where the run waits until all is
told, and one that fails is left out with a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pluggy

from flowbench.api.hooks import PROJECT

_hookspec = pluggy.HookspecMarker(PROJECT)


@dataclass(frozen=True, kw_only=True)
class TrackerSpec:
    """A tracker: its name, and what makes it.

    Attributes:
        name: Lower-case id, unique among all plugins: what ``--track`` takes.
        tracker: Reference to what makes the tracker of `TrackerSettings`.
        summary: What it is, in one line.

    Example:
        >>> TrackerSpec(name="mlflow", tracker="my_mlflow:Tracker", summary="to our server").name
        'mlflow'
    """

    name: str
    tracker: str
    summary: str


@dataclass(frozen=True, kw_only=True)
class TrackerSettings:
    """What a tracker is made of.

    Attributes:
        results: The results folder of the run.

    Example:
        >>> TrackerSettings(results=Path("results")).results / "tensorboard"
        PosixPath('results/tensorboard')
    """

    results: Path


@dataclass(frozen=True, kw_only=True)
class TrackedJob:
    """A job, as trackers see it.

    Attributes:
        job_id: The same for whoever asks for the same.
        label: Model, dataset and seed in words.
        config: The resolved configuration, nested.
        attempt: Number of the attempt; 0 before it has begun.
        folder: Folder of the attempt; None before it has begun.

    Example:
        >>> TrackedJob(
        ...     job_id="nice-digits-s0-0a1b", label="nice:tiny on digits, seed 0", model="nice",
        ...     preset="tiny", dataset="digits", seed=0, budget="60s",
        ... ).attempt
        0
    """

    job_id: str
    label: str
    model: str
    preset: str
    dataset: str
    seed: int
    budget: str
    config: Mapping[str, Any] = field(default_factory=dict)
    attempt: int = 0
    folder: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A look at validation while a job trains.

    Attributes:
        step: Optimizer steps done.
        examples: Training examples seen.
        charged_s: Seconds charged to the budget.
        progress: Part of the budget used.
        values: What was seen, by name: ``validation/bpd``, ``validation/bpd_ema``, the same of
            ``nll``, ``training/loss``, and ``info/...`` of what the model says beside it.

    Example:
        >>> Validation(
        ...     step=9, examples=90, charged_s=1.0, progress=0.5, values={"validation/bpd": 3.1}
        ... ).values["validation/bpd"]
        3.1
    """

    step: int
    examples: int
    charged_s: float
    progress: float
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class JobOutcome:
    """How an attempt at a job ended.

    Attributes:
        status: ``ok``, ``timeout``, ``oom``, ``diverged``, ``crashed``, ``killed``, ``preempted``,
            ``pruned``.
        reason: Why, where it is not ok.
        steps: Optimizer steps done.
        charged_s: Seconds charged to the budget.
        values: What was measured, by name, where there is a value; on test where there are several.

    Example:
        >>> JobOutcome(status="ok", steps=9, charged_s=1.0, values={"bpd": 3.0}).reason is None
        True
    """

    status: str
    reason: str | None = None
    steps: int
    charged_s: float
    values: Mapping[str, float] = field(default_factory=dict)


@_hookspec
def run_started(jobs: Sequence[TrackedJob]) -> None:
    """A run begins.

    Args:
        jobs: Those that it is to do; what is reused is not among them.
    """


@_hookspec
def job_started(job: TrackedJob) -> None:
    """An attempt at a job begins."""


@_hookspec
def validated(job: TrackedJob, validation: Validation) -> None:
    """A job has looked at validation; of one that goes on, earlier looks come first again."""


@_hookspec
def job_ended(job: TrackedJob, outcome: JobOutcome) -> None:
    """An attempt at a job has ended, and its record is written."""


@_hookspec
def run_ended() -> None:
    """The run ends, however it does."""
