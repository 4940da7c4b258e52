"""``flowbench check``: holds plugins to the contract."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from flowbench import paths
from flowbench.cli import complete
from flowbench.cli.columns import LEAST_TEXT, terminal_width, wrapped
from flowbench.cli.options import AsJson, DataDir, NoPlugins, PluginFiles, Results, load_plugins


def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models, model:preset, datasets and metrics \\[default: all of --plugin-file].",
            autocompletion=complete.anything,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Check everything that is registered.")
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Check models on random data shaped like this dataset \\[default: on small "
            "shapes that the model names or can run on].",
            autocompletion=complete.datasets,
        ),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Skip the checks that train a model.")
    ] = False,
    limit: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds that a single check may take \\[default: 120]."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Shapes to check a model on at a time, each in a process of its own \\[default: "
            "one per core].",
        ),
    ] = None,
    store: Annotated[
        bool, typer.Option("--store/--no-store", help="Keep the outcome in the results folder.")
    ] = True,
    as_json: AsJson = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only what failed, and how many did.")
    ] = False,
    results: Results = None,
    data_dir: DataDir = None,
    plugin_file: PluginFiles = None,
    no_plugin: NoPlugins = None,
) -> None:
    """Check models, datasets and metrics against the plugin contract."""
    from flowbench.errors import SuiteError

    # Before plugins are loaded: what is asked for cannot be right, whatever there is.
    if names and everything:
        raise SuiteError(f"--all checks {', '.join(names)} and everything else; give one of them")
    if not (names or everything or plugin_file):
        raise SuiteError("nothing to check; give names, or --all for everything (flowbench list)")
    from flowbench.contract.by_name import checks_of, keep, names_of
    from flowbench.contract.checking.checks import LIMIT_S
    from flowbench.provenance import available_cores

    registry = load_plugins(plugin_file, no_plugin)
    chosen = None if everything else names or names_of(registry, plugin_file)
    reports = []
    for title, run in checks_of(
        registry,
        chosen,
        dataset=dataset,
        slow=not fast,
        data_dir=paths.data_dir(data_dir),
        limit_s=LIMIT_S if limit is None else limit,
        jobs=len(available_cores()) if jobs is None else jobs,
    ):
        report = run()
        reports.append(report)
        shown = not as_json and (report.status == "failed" or not quiet)
        if shown:  # at once: the next check may take a minute
            print(title, *_fitted(report.lines()), sep="\n", flush=True)
        if store:
            keep(registry, report, paths.results_dir(results))
    _finish(reports, as_json=as_json)


def _fitted(lines: Iterable[str]) -> Iterator[str]:
    """Wraps what a check found beneath itself: behind the last gap of two spaces."""
    width = terminal_width()
    for line in lines:
        start = re.match(r"(\s*(\S+ )*\S+\s{2,})*\s*", line)
        indent = start.end() if start else 0
        found = wrapped(line[indent:], width and max(LEAST_TEXT, width - indent))
        yield f"{line[:indent]}{found[0]}"
        yield from (f"{' ' * indent}{part}" for part in found[1:])


def _finish(reports: list[Any], *, as_json: bool) -> None:
    failed = [report.name for report in reports if report.status == "failed"]
    if as_json:
        print(json.dumps([report.as_json() for report in reports], indent=1))
    elif len(reports) > 1:
        print(f"{len(reports)} checked, {len(failed)} failed{': ' if failed else ''}", end="")
        print(", ".join(failed))
    if failed:
        raise typer.Exit(1)
