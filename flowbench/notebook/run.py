"""``flowbench.run``: what ``flowbench run`` does, from Python."""

from __future__ import annotations

import contextlib
import inspect
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowbench import paths
from flowbench.budget import parse_duration, parse_size
from flowbench.cli import stopping, summary
from flowbench.errors import SuiteError
from flowbench.notebook.display import run_display
from flowbench.notebook.results import Results
from flowbench.registry import PluginSelection, load_registry
from flowbench.runner.decide import Rerun
from flowbench.runner.run import ReadyRun, RunRequest, get_ready
from flowbench.runner.schedule import Scheduler
from flowbench.suite.load import asked_suite
from flowbench.suite.settings import each_once

if TYPE_CHECKING:
    from flowbench.api.models import GenerativeModel


def run(
    suite: str | Path | None = None,
    *,
    models: Sequence[str | type[GenerativeModel]] | None = None,
    datasets: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    budget: str | None = None,
    seeds: Sequence[int] | None = None,
    overrides: Mapping[str, Any] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    sweep: Mapping[str, str | Sequence[Any]] | None = None,
    trials: int | None = None,
    protocol: Mapping[str, Any] | None = None,
    plugins: Sequence[str | Path] = (),
    device: str = "auto",
    jobs: int | None = None,
    executor: str = "local",
    executor_options: Mapping[str, str] | None = None,
    trackers: Sequence[str] = (),
    rerun: Rerun | None = None,
    timeout: str = "2h",
    max_rss: str | None = None,
    results: str | Path | None = None,
    data_dir: str | Path | None = None,
    quiet: bool = False,
) -> Results:
    """Trains and measures models under one budget; what is done already is reused.

    In a notebook a live display shows how far jobs are, and interrupting the cell has them save
    their state: the same call goes on from there.

    Args:
        suite: A suite's name or TOML file, which the other arguments change; by default one is
            made of them.
        models: Names as boards have them, ``"glow"`` or ``"realnvp:tiny"``; or classes. A class
            must be defined at the top level of a cell or a script, and its ``__init__`` must say by
            annotation which config it takes: its source is kept with its results.
        datasets: Names; by default the suite's, or ``digits``.
        metrics: Names; by default all that apply, but for costly ones.
        budget: ``"60s"``, ``"2gpuh"``, ``"5000steps"``, or the first of several with commas.
        seeds: A sequence of integers, such as ``range(3)``.
        overrides: Values of configs by their dotted keys: ``{"glow.width": 64}``.
        grid: Several values of each key: ``{"glow.width": [32, 64]}``; every combination is a row.
        sweep: What settings are searched on validation, by their dotted keys, before the best is
            run with all seeds: ``{"glow.training.lr": "log(1e-4,1e-2)"}``, ``uniform(a,b)``,
            ``int(a,b)``, or a list to choose from.
        trials: How many settings that tries for each model and dataset; by default 20.
        protocol: How is measured: ``eval_draws``, ``num_samples``, ``sample``.
        plugins: Files to load as plugins.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        jobs: How many at a time; by default one per GPU, two on a CPU.
        executor: Where jobs run.
        executor_options: What is asked for there.
        trackers: Whom the run is told to besides: ``tensorboard``, ``wandb``.
        rerun: ``failed``, ``stale``, ``contended`` or ``all``: what to run anew.
        timeout: How long an attempt may take outside its budget.
        max_rss: Memory that a job may hold, as ``"8GB"``.
        results: The results folder; by default FLOWBENCH_RESULTS or ``results``.
        data_dir: Where prepared datasets are; by default FLOWBENCH_DATA or the user's cache.
        quiet: Show no progress.

    Returns:
        What became of the jobs: ``ok``, ``problems``, ``to_frame()``, ``board()``.

    Raises:
        FlowbenchError: What was asked for cannot be run, before anything starts. A job that fails
            raises nothing: its record, and ``problems``, say why.
        KeyboardInterrupt: It was interrupted; jobs have saved their state.
    """
    folder = paths.results_dir(Path(results) if results else None).resolve()
    files = [Path(file).resolve() for file in plugins]
    lists = {"models": models, "datasets": datasets, "metrics": metrics, "seeds": seeds}
    changes: dict[str, Any] = {
        key: _listed(key, value) for key, value in lists.items() if value is not None
    }
    if "models" in changes:
        changes["models"] = [_named(model, folder, files) for model in changes["models"]]
    if budget is not None:
        changes["budget"] = budget
    if sweep:
        changes["sweep"] = dict(sweep)
    if trials is not None:
        changes["trials"] = trials
    asked = asked_suite(
        None if suite is None else str(suite),
        changes,
        overrides=_values(overrides or {}, grid or {}),
        protocol=protocol or {},
        source="flowbench.run",
    )
    selection = PluginSelection.from_environment(files=files)
    request = RunRequest(
        suites=(asked,),
        results=folder,
        data_dir=paths.data_dir(Path(data_dir) if data_dir else None).resolve(),
        plugins=selection,
        device=device,
        num_jobs=jobs,
        executor=executor,
        executor_options=dict(executor_options or {}),
        rerun=rerun,
        timeout_s=parse_duration(timeout, "timeout"),
        max_rss=None if max_rss is None else parse_size(max_rss, "max_rss"),
        command=("python", *sys.argv[:1]),
        trackers=tuple(_listed("trackers", trackers)),
    )
    return _carried_out(get_ready(request, load_registry(selection)), request, quiet)


def _named(model: str | type[GenerativeModel], results: Path, files: list[Path]) -> str:
    """A model's name; a class becomes one of the plugin files."""
    if not inspect.isclass(model):
        return str(model)
    from flowbench.notebook.classes import name_of, write_plugin_file

    file = write_plugin_file(model, results)
    if file not in files:
        files.append(file)
    return name_of(model)


def _values(
    overrides: Mapping[str, Any], grid: Mapping[str, Sequence[Any]]
) -> dict[str, list[Any]]:
    for key in overrides.keys() & grid.keys():
        raise SuiteError(f"{key} is given by overrides and by grid; give it once")
    several = {key: each_once(_listed(key, values)) for key, values in grid.items()}
    for key in (key for key, values in several.items() if not values):
        raise SuiteError(f"grid has no value of {key}; expected a list of at least one")
    return {key: [value] for key, value in overrides.items()} | several


def _listed(key: str, value: Sequence[Any]) -> list[Any]:
    # A text is a sequence too, of letters.
    if isinstance(value, str):
        raise SuiteError(f"{key} is {value!r}; expected a list: {key}={value.split(',')!r}")
    return list(value)


def _carried_out(ready: ReadyRun, request: RunRequest, quiet: bool) -> Results:
    decided, (suite,) = ready.decisions, request.suites
    with (
        run_display(ready, quiet=quiet) as display,
        ready.tracked(display) as observer,
    ):
        scheduler = ready.scheduler(observer)
        with _interruptible(scheduler):
            records = scheduler.run(decided)
    decided = list(scheduler.decided.values())
    missing = (f"skipped: {', '.join(m.models)}: {m.error}" for m in ready.unprepared)
    problems = [
        *missing,
        *summary.failures(decided, records),
        *summary.unavailable(records.values(), suite.metrics or ()),
        *ready.sweeps.problems,
    ]
    return Results(
        folder=request.results,
        jobs=tuple(job.row.job_id for job, _ in decided if job.trial is None),
        ok=summary.succeeded(decided, records) and not ready.sweeps.problems,
        problems=tuple(problems),
        suite=suite,
    )


@contextlib.contextmanager
def _interruptible(scheduler: Scheduler) -> Iterator[None]:
    """Ctrl-C, or a notebook's interrupt, lets jobs save; elsewhere than in the main thread none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with stopping.interrupted_by((signal.SIGINT,), scheduler):
        yield
