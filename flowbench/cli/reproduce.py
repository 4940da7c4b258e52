"""``flowbench reproduce``: the same job again, and how far its numbers agree."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from flowbench import paths
from flowbench.cli import complete, stopping
from flowbench.cli.columns import print_columns, terminal_width, visible, wrapped
from flowbench.cli.options import DataDir, NoPlugins, PluginFiles, Results, selected_plugins

if TYPE_CHECKING:
    from pathlib import Path

    from flowbench.runner.decide import Decision
    from flowbench.runner.options import RunOptions
    from flowbench.runner.plan import Job
    from flowbench.runner.reproduce import Agreement
    from flowbench.store.records import AttemptRow, MeasurementRow


def reproduce(
    job: Annotated[
        str,
        typer.Argument(
            help="Id of a job or an attempt, or how it begins.", autocompletion=complete.jobs
        ),
    ],
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Fail unless all values agree within this part of their size "
            "\\[default: say within what they agree].",
            min=0.0,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="auto, cpu, cuda or mps \\[default: the kind that it ran on].",
            autocompletion=complete.one_of("auto", "cpu", "cuda", "mps"),
        ),
    ] = None,
    timeout: Annotated[str, typer.Option(help="How long it may take outside its budget.")] = "2h",
    results: Results = None,
    data_dir: DataDir = None,
    plugin_file: PluginFiles = None,
    no_plugin: NoPlugins = None,
) -> None:
    """Run a job once more from the start, and compare its numbers with those that it had.

    The fresh attempt is kept beside the others. Under a budget of time it does as many steps as
    this machine has time for, so that its numbers agree only roughly.
    """
    from flowbench.budget import Budget, parse_duration
    from flowbench.errors import StoreError
    from flowbench.registry import load_registry
    from flowbench.runner.options import RunOptions
    from flowbench.runner.reproduce import agreement, job_again
    from flowbench.store.attempt_files import AttemptContents
    from flowbench.store.queries import find_attempt
    from flowbench.store.reconcile import readable

    folder = paths.results_dir(results).resolve()
    with readable(folder) as stored:
        before = find_attempt(stored, job)
    plugins = selected_plugins([path.resolve() for path in plugin_file or ()], no_plugin)
    registry = load_registry(plugins)
    options = RunOptions(
        device=device or before.record.device_kind or "auto",
        data_dir=paths.data_dir(data_dir).resolve(),
        plugins=plugins,
        timeout_s=parse_duration(timeout, "--timeout"),
        command=("flowbench", *sys.argv[1:]),
        num_devices=before.record.num_devices,
    )
    again = job_again(before.record, registry, options.data_dir)
    try:
        record = run_once(*again, options, folder, before.record.num_threads)
    except KeyboardInterrupt:
        _say("stopped; there is nothing to compare")
        raise typer.Exit(130) from None
    try:
        with readable(folder) as stored:
            found = agreement(before, find_attempt(stored, record.attempt_id))
    except StoreError:
        if record.status == "ok":
            raise
        # It left no file that can be read: what became of it is in this record alone.
        found = agreement(before, AttemptContents(record=record))
    _print(before.record, record, found)
    if Budget.parse(record.job.budget).time_like and before.record.steps != record.steps:
        _say(f"steps: {before.record.steps:,}, now {record.steps:,}: the budget is of time")
    failed = record.status != "ok" or bool(found.missing)
    if failed or (tolerance is not None and (found.apart is None or found.apart > tolerance)):
        raise typer.Exit(1)


def run_once(
    job: Job, decision: Decision, options: RunOptions, folder: Path, num_threads: int | None
) -> AttemptRow:
    """Runs one job from the start, and shows how far it is."""
    from flowbench.cli.progress import progress_display
    from flowbench.runner.run import run_again

    scheduler_for = run_again(job, decision, options, folder, num_threads=num_threads)
    with progress_display([job], 1, "normal") as display:
        scheduler = scheduler_for(display)
        with stopping.interrupted_by(stopping.stop_signals(), scheduler):
            (record,) = scheduler.run([(job, decision)]).values()
    return record


def _print(before: AttemptRow, after: AttemptRow, found: Agreement) -> None:
    rows = [*_rows(found.values), *_rows(found.machine)]
    if rows:
        print_columns(rows, rows[0], terminal_width())
    _say(_verdict(before, after, found))
    if found.missing:
        _say(f"not measured both times: {', '.join(found.missing)}")
    differs = found.differs or ("nothing in code or machine",)
    for line in differs:
        _say(f"differs: {line}")


def _rows(pairs: tuple[tuple[MeasurementRow, MeasurementRow], ...]) -> Iterator[dict[str, object]]:
    from flowbench.runner.reproduce import difference

    for old, new in pairs:
        apart = difference(old.value or 0.0, new.value or 0.0)
        yield {
            "value": old.name,
            "was": old.value,
            "now": new.value,
            "unit": old.unit,
            "apart": "equal" if not apart else f"{apart:.1e}",
        }


def _verdict(before: AttemptRow, after: AttemptRow, found: Agreement) -> str:
    if before.status != after.status:
        reason = f": {after.reason}" if after.reason else ""
        return (
            f"{before.attempt_id} was {before.status}, {after.attempt_id} is {after.status}{reason}"
        )
    if found.within is None:
        return f"{after.attempt_id}: {after.status} again, with no value to compare"
    said = "equal" if not found.within else f"agree within {found.within:.0e} of their size"
    line = f"{after.attempt_id} and {before.attempt_id}: values {said}"
    if found.per_example is not None:
        line += f"; log-likelihoods of test examples within {found.per_example:.1e} nats"
    return f"{line} (times, rates and memory aside)" if found.machine else line


def _say(line: str) -> None:
    print(*wrapped(visible(line), terminal_width()), sep="\n")
