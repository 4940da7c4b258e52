"""``flowbench run``: plan, schedule, show."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowbench import paths
from flowbench.cli import complete, stopping
from flowbench.cli.columns import print_columns, terminal_width, wrapped
from flowbench.cli.options import (
    RERUN,
    DataDir,
    DeviceKind,
    NoPlugins,
    NumJobs,
    PluginFiles,
    RerunWhat,
    Results,
    selected_plugins,
)

if TYPE_CHECKING:
    import signal

    from rich.console import Console

    from flowbench.cli.progress import Verbosity
    from flowbench.runner.decide import Decision, Rerun
    from flowbench.runner.plan import Job
    from flowbench.runner.run import ReadyRun, RunRequest
    from flowbench.store.records import AttemptRow
    from flowbench.suite.schema import ExecutorChoice, Suite

DEFAULT_TIMEOUT = "2h"
ON_OOM = ("half-batch",)
PLAIN_WIDTH = 160  # of a table in a file, where nothing says how wide a line may be


def run(
    suite: Annotated[
        str | None,
        typer.Argument(
            help="Suite name or TOML file; flags override it \\[default: one made from flags].",
            autocompletion=complete.suites,
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="Models, separated by commas: glow,realnvp:tiny \\[default: the suite's].",
            autocompletion=complete.listed(complete.models),
        ),
    ] = None,
    datasets: Annotated[
        str | None,
        typer.Option(
            help="Datasets \\[default: the suite's, or digits].",
            autocompletion=complete.listed(complete.datasets),
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Metrics \\[default: all that apply, except costly ones such as fid].",
            autocompletion=complete.listed(complete.metrics),
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Training budget of each job: 2gpuh, 5000steps or the first of 60s,5000steps "
            "\\[default: the suite's, or 60s]."
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds: 0-2 or 0,3,7 \\[default: the suite's, or 0].")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Override a value: glow.width=64; of several, 32,64, each is a row; can be "
            "repeated.",
        ),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            "--sweep",
            help="Search a setting on validation, then run the best: 'glow.training.lr=log(1e-4,"
            "1e-2)', uniform(a,b), int(a,b), choice(a,b,c); can be repeated.",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Settings that a sweep tries, for each model and dataset \\[default: the suite's, "
            "or 20].",
        ),
    ] = None,
    eval_draws: Annotated[
        int | None,
        typer.Option(help="Noise draws per test example \\[default: the suite's, or 16]."),
    ] = None,
    num_samples: Annotated[
        int | None,
        typer.Option(
            help="Samples drawn for metrics that look at samples \\[default: the suite's, or 256]."
        ),
    ] = None,
    sample: Annotated[
        list[str] | None,
        typer.Option(
            "--sample", help="Sampling settings: temperature=0.8,guidance=2; can be repeated."
        ),
    ] = None,
    ladder: Annotated[
        bool,
        typer.Option(
            "--ladder",
            help="Also measure samples drawn in 1, 2, 4, 8, ... steps, where a model takes steps.",
        ),
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Weights for fid and the like: a folder or a file \\[default: FLOWBENCH_WEIGHTS]."
        ),
    ] = None,
    device: DeviceKind = "auto",
    jobs: NumJobs = None,
    devices_per_job: Annotated[
        int | None,
        typer.Option(
            help="Devices that train each job together: GPUs, or processes on a CPU \\[default: "
            "the suite's, or 1].",
            min=1,
            max=1024,
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            help="Where jobs run (flowbench list executors) \\[default: the suite's, or local].",
            autocompletion=complete.executors,
        ),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on",
            "--slurm",
            help="What is asked for there, e.g. partition=gpu,time=4:00:00; can be repeated.",
        ),
    ] = None,
    spawn: Annotated[
        bool,
        typer.Option(
            "--spawn",
            help="Start a new Python for each job, as on GPUs \\[default on CPUs under Linux: fork "
            "a process that has done the imports].",
        ),
    ] = False,
    track: Annotated[
        str | None,
        typer.Option(
            help="Also tell these of the run: tensorboard,wandb (flowbench list trackers) "
            "\\[default: none].",
            autocompletion=complete.listed(complete.trackers),
        ),
    ] = None,
    rerun: RerunWhat = None,
    timeout: Annotated[
        str, typer.Option(help="How long an attempt may take outside its budget.")
    ] = DEFAULT_TIMEOUT,
    max_rss: Annotated[
        str | None,
        typer.Option(
            help="Memory that a job may hold, with all that it starts: 8GB "
            "\\[default: the machine's, shared by the jobs at a time]."
        ),
    ] = None,
    on_oom: Annotated[
        str | None,
        typer.Option(
            help="half-batch: try a job that runs out of memory again with half of each batch at "
            "a time, as a job of its own \\[default: leave it].",
            autocompletion=complete.one_of(*ON_OOM),
        ),
    ] = None,
    no_wait: Annotated[
        bool,
        typer.Option("--no-wait", help="Leave jobs that other runs are at work on, and name them."),
    ] = False,
    detach: Annotated[
        bool,
        typer.Option("--detach", help="Leave jobs at work if this command ends before them."),
    ] = False,
    stop_signal: Annotated[
        str,
        typer.Option(help="A signal that asks to save and end, besides INT, TERM and HUP."),
    ] = stopping.DEFAULT,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the jobs and stop there.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the final table and what failed.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Also print resolved settings, paths and looks at validation."
        ),
    ] = False,
    results: Results = None,
    data_dir: DataDir = None,
    plugin_file: PluginFiles = None,
    no_plugin: NoPlugins = None,
) -> None:
    """Train and measure models under one budget, and print their table."""
    from flowbench.budget import parse_duration, parse_size
    from flowbench.errors import SuiteError
    from flowbench.registry import load_registry

    if quiet and verbose:
        raise SuiteError("--quiet and --verbose exclude each other; give one of them")
    lists = {"models": models, "datasets": datasets, "metrics": metrics}
    counts = {"eval_draws": eval_draws, "num_samples": num_samples}
    chosen = _suite(
        suite, lists, counts, budget, seeds, set_ or (), sweep or (), trials, sample or ()
    )
    if trials is not None and not chosen.sweep:
        raise SuiteError("--trials counts those of a sweep; give --sweep MODEL.KEY=... too")
    placed = _executor(chosen, executor, on or ())
    if ladder:
        chosen = chosen.model_copy(update={"ladder": True})
    if devices_per_job is not None:
        chosen = chosen.model_copy(update={"devices_per_job": devices_per_job})
    if weights is not None:
        os.environ[paths.WEIGHTS] = str(_existing(weights).resolve())  # a work order has it, too
    files = [path.resolve() for path in plugin_file or ()]  # workers run elsewhere
    plugins = selected_plugins(files, no_plugin)
    registry = load_registry(plugins)
    rerun_what = one_of("--rerun", rerun, RERUN)
    half_batch = one_of("--on-oom", on_oom, ON_OOM) is not None
    timeout_s = parse_duration(timeout, "--timeout")
    # Not above: it imports torch, and what is refused until here is so at once.
    from flowbench.runner.run import RunRequest, get_ready

    request = RunRequest(
        suites=(chosen,),
        results=paths.results_dir(results).resolve(),
        data_dir=paths.data_dir(data_dir).resolve(),
        plugins=plugins,
        device=device,
        num_jobs=jobs,
        num_devices=chosen.devices_per_job,
        executor=placed.name,
        executor_options=placed.options,
        spawn=spawn,
        rerun=rerun_what,
        timeout_s=timeout_s,
        max_rss=None if max_rss is None else parse_size(max_rss, "--max-rss"),
        command=("flowbench", *sys.argv[1:]),
        wait=not no_wait,
        detach=detach,
        half_batch=half_batch,
        trackers=tuple(dict.fromkeys(_each([track]))) if track else (),
    )
    signals = stopping.stop_signals(stop_signal)
    ready = get_ready(request, registry, dry_run=dry_run)
    # Before anything is written: a dry run must leave the results folder as it is.
    if dry_run:
        print_plan(ready)
        return
    _execute(ready, request, signals, "quiet" if quiet else "verbose" if verbose else "normal")


def _existing(path: Path) -> Path:
    from flowbench.errors import DataError

    if not path.exists():
        raise DataError(f"--weights is {path}, which does not exist; expected a folder or a file")
    return path


def _execute(
    ready: ReadyRun,
    request: RunRequest,
    signals: Sequence[signal.Signals],
    verbosity: Verbosity,
) -> None:
    from flowbench.cli import summary
    from flowbench.leaderboard import terminal_table

    decided, records = carry_out(ready, request, signals, verbosity)
    (suite,) = request.suites
    # Else other runs have all jobs, and none has ended yet; or none could be started; or there are
    # trials of sweeps alone, which no board shows.
    shown = [job.row.job_id for job, _ in decided if job.trial is None]
    if any(job_id in records and records[job_id].number for job_id in shown):
        _table_console().print(terminal_table(request.results, shown, suite))
    say_troubles(decided, records, suite.metrics or ())
    say(unfinished := ready.sweeps.problems)
    # After all is printed: scripts look at the status, people at the table.
    if unfinished or not summary.succeeded(decided, records):
        raise typer.Exit(1)


def carry_out(
    ready: ReadyRun,
    request: RunRequest,
    signals: Sequence[signal.Signals],
    verbosity: Verbosity,
) -> tuple[list[tuple[Job, Decision]], Mapping[str, AttemptRow]]:
    """Runs what is to be run, telling of it.

    Returns:
        What became of the decisions, and the record of each job that has one.
    """
    from flowbench.cli import summary
    from flowbench.cli.progress import progress_display

    decided = ready.decisions
    say(ready.notes)
    say(f"skipped: {', '.join(m.models)}: {m.error}" for m in ready.unprepared)
    if not decided:
        raise typer.Exit(1)
    if verbosity != "quiet":
        say(summary.opening(decided))
        say(str(sweep) for sweep in ready.sweeps.all if sweep.problem is not None)
    if verbosity == "verbose":
        say(summary.settings(request, ready))

    # What is reused needs no line of its own: the table shows it.
    starting = ready.starting
    try:
        at_once = len(ready.executor.slots) or len(starting)
        with (
            progress_display(starting, at_once, verbosity, ready.to_come) as display,
            ready.tracked(display) as observer,
        ):
            scheduler = ready.scheduler(observer)
            with stopping.interrupted_by(signals, scheduler):
                records = scheduler.run(decided)
    except KeyboardInterrupt:
        say([summary.stopped(request, ready)])
        raise typer.Exit(130) from None  # 128 + SIGINT, as a shell reports it
    say(str(sweep) for sweep in ready.sweeps.all if sweep.problem is None)
    return list(scheduler.decided.values()), records


def say_troubles(
    decided: Sequence[tuple[Job, Decision]],
    records: Mapping[str, AttemptRow],
    metrics: Sequence[str],
) -> None:
    """Says of each job without a good result, and of each value that is missing, why."""
    from flowbench.cli import summary

    say(summary.failures(decided, records))
    say(summary.unavailable(records.values(), metrics))


def say(lines: Iterable[str]) -> None:
    """Prints lines beside the progress display, on standard error."""
    from rich.console import Console

    from flowbench.cli import progress

    console = Console(stderr=True)
    for line in lines:
        progress.say(console, line)


def _table_console() -> Console:
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def print_plan(ready: ReadyRun) -> None:
    """Prints the jobs, what becomes of each, and what they cost."""
    from flowbench.runner.estimate import estimate

    rows = [
        {
            "job": job.row.job_id,
            "action": decision.action,
            "model": job.row.configured,
            "budget": job.row.budget,
            "dataset": job.row.dataset,
            "seed": job.row.seed,
            "why": f"{job.row.in_parts}: {decision.why}".removeprefix(": "),
        }
        for job, decision in ready.decisions
    ]
    if rows:
        print_columns(rows, rows[0], terminal_width())
    for missing in ready.unprepared:
        _print_wrapped(f"skipped: {', '.join(missing.models)}: {missing.error}")
    for line in estimate(ready).splitlines():
        _print_wrapped(line)


def _print_wrapped(line: str) -> None:
    print(*wrapped(line, terminal_width()), sep="\n")


def one_of(flag: str, value: str | None, known: tuple[str, ...]) -> Rerun | None:
    """What a flag was given; an error if it is none of what the flag knows."""
    from flowbench.errors import SuiteError

    if value is not None and value not in known:
        raise SuiteError(f"{flag} is {value!r}; expected one of {', '.join(known)}")
    return value  # type: ignore[return-value]


def _suite(
    name: str | None,
    lists: Mapping[str, str | None],
    counts: Mapping[str, int | None],
    budget: str | None,
    seeds: str | None,
    overrides: Sequence[str],
    sweep: Sequence[str],
    trials: int | None,
    sample: Sequence[str],
) -> Suite:
    """A suite, made from flags or changed by them."""
    from flowbench.suite.load import asked_suite, parse_seeds
    from flowbench.suite.settings import parse_grid, parse_settings, split_settings

    changes: dict[str, Any] = {
        key: [part.strip() for part in text.split(",") if part.strip()]
        for key, text in lists.items()
        if text is not None
    }
    if budget is not None:
        changes["budget"] = budget
    if seeds is not None:
        changes["seeds"] = parse_seeds(seeds)
    if sweep:
        changes["sweep"] = dict(split_settings(sweep, "--sweep"))
    if trials is not None:
        changes["trials"] = trials
    protocol: dict[str, Any] = {key: count for key, count in counts.items() if count is not None}
    if sample:
        protocol["sample"] = _sample_settings(parse_settings(_each(sample), "--sample"))
    return asked_suite(
        name,
        changes,
        overrides=parse_grid(overrides, "--set"),
        protocol=protocol,
        source="the command line",
    )


def _executor(suite: Suite, name: str | None, options: Sequence[str]) -> ExecutorChoice:
    """Where jobs run: as the suite says, but for what flags change."""
    from flowbench.errors import SuiteError
    from flowbench.suite.schema import ExecutorChoice

    base = suite.executor or ExecutorChoice(name="local")
    if name is not None and name != base.name:
        base = ExecutorChoice(name=name)
    given = {}
    for part in _each(options):
        key, equals, value = part.partition("=")
        if not (key.strip() and equals and value.strip()):
            raise SuiteError(f"--on is {part!r}; expected KEY=VALUE, e.g. partition=gpu")
        given[key.strip()] = value.strip()
    return ExecutorChoice(name=base.name, **{**base.options, **given})


def _each(flags: Iterable[str]) -> list[str]:
    """``guidance=2,denoise=true`` as two assignments."""
    return [part for flag in flags for part in flag.split(",")]


def _sample_settings(values: dict[str, Any]) -> dict[str, Any]:
    options = {key: value for key, value in values.items() if key != "temperature"}
    known = {"temperature": values["temperature"]} if "temperature" in values else {}
    return {**known, "options": options}
