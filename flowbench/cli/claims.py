"""``flowbench claims``: tests what papers claim."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowbench import paths
from flowbench.cli import complete, stopping
from flowbench.cli.options import (
    RERUN,
    AsJson,
    DataDir,
    DeviceKind,
    NoPlugins,
    NumJobs,
    PluginFiles,
    RerunWhat,
    Results,
    selected_plugins,
)
from flowbench.cli.run import (
    DEFAULT_TIMEOUT,
    carry_out,
    one_of,
    print_plan,
    say,
    say_troubles,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowbench.runner.decide import Rerun
    from flowbench.suite.claims import Claim, ClaimsFile


def claims(
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="Claims \\[default: all of the file].", autocompletion=complete.claims),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="A claims file \\[default: the papers' on the boards]."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Test on this dataset \\[default: each test's own].",
            autocompletion=complete.datasets,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Training budget of each run \\[default: each run's own, in steps]."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds: 0-4 or 0,3,7 \\[default: the file's].")
    ] = None,
    rerun: RerunWhat = None,
    judge: Annotated[
        bool, typer.Option("--judge", help="Judge what has been run, and run nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the jobs and what they cost, and stop there.")
    ] = False,
    device: DeviceKind = "auto",
    jobs: NumJobs = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="Also write the board of claims: html, md, latex, csv, parquet; can be repeated.",
            autocompletion=complete.one_of("html", "md", "latex", "csv", "parquet"),
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write it to.")] = Path("boards"),
    as_json: AsJson = False,
    results: Results = None,
    data_dir: DataDir = None,
    plugin_file: PluginFiles = None,
    no_plugin: NoPlugins = None,
) -> None:
    """Test what papers claim, on small data: run what a claim needs and give its verdict.

    A claim is supported, contradicted or undecided: the 95 % interval of its effect over seeds lies
    inside what is claimed, outside, or across. Runs are shared between claims, and with
    flowbench run; what is done is not run again.
    """
    from flowbench.leaderboard import check_formats, write_boards
    from flowbench.suite.claims import load_claims
    from flowbench.suite.load import parse_seeds

    check_formats(formats or ())  # before anything runs
    chosen = load_claims(file).changed(
        dataset=dataset,
        budget=budget,
        seeds=None if seeds is None else parse_seeds(seeds),
    )
    named = chosen.named(ids or [])
    if not judge:
        _run(
            chosen,
            named,
            device=device,
            num_jobs=jobs,
            results=results,
            data_dir=data_dir,
            plugin_file=plugin_file,
            no_plugin=no_plugin,
            rerun=one_of("--rerun", rerun, RERUN),
            dry_run=dry_run,
        )
    if dry_run:
        return
    folder = paths.results_dir(results)
    _print(chosen, named, folder, as_json=as_json)
    if formats:
        from flowbench.leaderboard.claims import claims_board

        board = claims_board(folder, chosen, with_details="html" in formats)
        for path in write_boards([board], out, formats):
            print(path)


def _run(
    file: ClaimsFile,
    claims: Sequence[Claim],
    *,
    device: str,
    num_jobs: int | None,
    results: Path | None,
    data_dir: Path | None,
    plugin_file: PluginFiles,
    no_plugin: NoPlugins,
    rerun: Rerun | None,
    dry_run: bool,
) -> None:
    from flowbench.budget import parse_duration
    from flowbench.registry import load_registry

    needed = file.suites(claims)
    if not needed:  # they say themselves what is missing
        return
    plugins = selected_plugins([path.resolve() for path in plugin_file or ()], no_plugin)
    registry = load_registry(plugins)
    # A package that is not there must not keep all other claims from being tested.
    away = {run.name: run.package for run, _ in needed if run.name not in registry.models}
    for name in (name for name, package in away.items() if not package):
        registry.model(name)  # which says what may have been meant
    say(f"skipped: {name} is not installed; pip install {away[name]}" for name in away)
    suites = tuple(suite for run, suite in needed if run.name not in away)
    if not suites:
        return
    # Not above: it imports torch.
    from flowbench.runner.run import RunRequest, get_ready

    request = RunRequest(
        suites=suites,
        results=paths.results_dir(results).resolve(),
        data_dir=paths.data_dir(data_dir).resolve(),
        plugins=plugins,
        device=device,
        num_jobs=num_jobs,
        rerun=rerun,
        timeout_s=parse_duration(DEFAULT_TIMEOUT, "--timeout"),
        command=("flowbench", *sys.argv[1:]),
    )
    ready = get_ready(request, registry, dry_run=dry_run)
    if dry_run:
        print_plan(ready)
        return
    decided, records = carry_out(ready, request, stopping.stop_signals(stopping.DEFAULT), "normal")
    metrics = {metric for suite in suites for metric in suite.metrics or ()}
    say_troubles(decided, records, sorted(metrics))


def _print(file: ClaimsFile, claims: Sequence[Claim], results: Path, *, as_json: bool) -> None:
    from flowbench.leaderboard.claims import judged_claims

    judged = judged_claims(results, file)
    if as_json:
        shown = {claim.id for claim in claims}
        print(json.dumps([one.record() for one in judged if one.claim.id in shown], indent=1))
        return
    from rich.console import Console

    from flowbench.leaderboard.render import claims as rendering

    Console().print(rendering.render(claims, judged))
