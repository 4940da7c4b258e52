"""``flowbench results submit`` and ``verify``: results for a board that many fill."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowbench import paths
from flowbench.cli import complete
from flowbench.cli.columns import terminal_width, visible, wrapped
from flowbench.cli.options import (
    DataDir,
    DeviceKind,
    NoPlugins,
    OnlyDataset,
    OnlyModel,
    PluginFiles,
    Results,
    selected_plugins,
)

if TYPE_CHECKING:
    from flowbench.leaderboard.build.evidence import Method
    from flowbench.registry import Registry
    from flowbench.runner.options import RunOptions
    from flowbench.store.bundles import Bundle, VerifiedRow
    from flowbench.store.records import AttemptRow

BundlePath = Annotated[Path, typer.Argument(help="Folder of a bundle.", metavar="BUNDLE")]


def submit(
    jobs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Ids of jobs, or how they begin \\[default: all].", autocompletion=complete.jobs
        ),
    ] = None,
    model: OnlyModel = None,
    dataset: OnlyDataset = None,
    by: Annotated[str, typer.Option(help="Who submits: a name, shown behind the rows.")] = "",
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the bundle; its name is the bundle's.")
    ] = Path("bundle"),
    results: Results = None,
) -> None:
    """Write results as a bundle: text with hashes, for a pull request to a public board.

    It holds records, thinned curves, samples of one run a row, contract checks, and the plugin
    files that the runs loaded. Nothing of the machine's folders is in it. Failed runs are.
    """
    from flowbench.leaderboard.submit import submit as write

    bundle = write(
        paths.results_dir(results),
        out,
        name=out.resolve().name,
        by=by,
        jobs=jobs or (),
        model=model,
        dataset=dataset,
    )
    size = sum(file.num_bytes for file in bundle.manifest.files.values())
    num = len(bundle.attempts)
    _say(f"{bundle.path}: {num} attempt{'s' * (num != 1)}, {size / 1e6:.2f} MB, {bundle.id}")
    for path in bundle.plugin_files:
        _say(f"  with {path.name}, which others will read: it is code of yours")
    _say(f"others will check it so: flowbench results verify {shlex.quote(str(bundle.path))}")


def verify(
    bundle: BundlePath,
    seeds: Annotated[
        int, typer.Option(help="Seeds of each row to train again; 0 checks hashes alone.", min=0)
    ] = 1,
    model: Annotated[
        str | None,
        typer.Option(
            help="Only this model, or model:preset \\[default: every row].",
            autocompletion=complete.models,
        ),
    ] = None,
    longest: Annotated[
        str, typer.Option(help="Train nothing again that took longer, or takes longer here.")
    ] = "1h",
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest difference, as a part of a value \\[default: what a board calls equal, "
            "or the spread over seeds].",
            min=0.0,
        ),
    ] = None,
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code", help="Run the plugin files in the bundle, with your rights: read them."
        ),
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record",
            help="Folder to keep the outcome in, for results merge \\[default: keep none].",
        ),
    ] = None,
    rerun_in: Annotated[
        Path | None,
        typer.Option(help="Results folder of the runs \\[default: one that is deleted]."),
    ] = None,
    device: DeviceKind = "auto",
    timeout: Annotated[
        str, typer.Option(help="How long a run may take outside its budget.")
    ] = "2h",
    data_dir: DataDir = None,
    plugin_file: PluginFiles = None,
    no_plugin: NoPlugins = None,
) -> None:
    """Check a bundle's hashes, train some of it again, and compare: a verdict for each row.

    A seed is trained in as many steps as it took, whatever its budget of time was, and its
    qualities are compared. Nothing that the bundle brings is executed without --trust-code. Exits
    with 1 if a row is contradicted.
    """
    from flowbench.budget import parse_duration
    from flowbench.leaderboard.verify import rows_of, summary
    from flowbench.provenance import processor_name
    from flowbench.registry import load_registry
    from flowbench.runner.options import RunOptions
    from flowbench.store.bundles import Verification, read_bundle, write_verification

    given = read_bundle(bundle)
    rows = rows_of(given, model)
    longest_s = parse_duration(longest, "--longest")
    files = [path.resolve() for path in plugin_file or ()]
    files += [path.resolve() for path in given.plugin_files if trust_code]
    plugins = selected_plugins(files, no_plugin)
    options = RunOptions(
        device=device,
        data_dir=paths.data_dir(data_dir).resolve(),
        plugins=plugins,
        timeout_s=parse_duration(timeout, "--timeout"),
        command=("flowbench", *sys.argv[1:]),
    )
    registry = load_registry(plugins)
    found = []
    with _folder(rerun_in) as folder:
        for row in rows:
            one = _verified(row, given, registry, options, folder, seeds, longest_s, tolerance)
            _say(f"{one.row}: {one.verdict}, {one.why}")
            found.append(one)
    for line in summary(given, found):
        _say(line)
    if record is not None:
        outcome = Verification(
            bundle=given.sha256,
            name=given.manifest.name,
            device=processor_name(),
            rows=tuple(found),
        )
        _say(str(write_verification(record, outcome)))
    if any(one.verdict == "contradicted" for one in found):
        raise typer.Exit(1)


def _verified(
    row: Method,
    bundle: Bundle,
    registry: Registry,
    options: RunOptions,
    folder: Path,
    seeds: int,
    longest_s: float,
    tolerance: float | None,
) -> VerifiedRow:
    """The outcome of a row; whatever keeps it from being run again is told as such."""
    from flowbench.errors import FlowbenchError
    from flowbench.leaderboard.verify import judged, not_rerun, to_rerun

    if not seeds:
        return not_rerun(row, "hashes alone were asked for")
    name = row.first.job.model
    if name not in registry.models:
        brought = ", ".join(path.name for path in bundle.plugin_files)
        way = f"the bundle brings {brought}, which runs with --trust-code alone" if brought else ""
        return not_rerun(
            row, f"model {name!r} is not installed here; {way or 'install its plugin'}"
        )
    try:
        before = to_rerun(row, seeds, longest_s)
        pairs = [(one, _again(one, registry, options, folder, longest_s)) for one in before]
    except FlowbenchError as exc:
        return not_rerun(row, str(exc))
    except KeyboardInterrupt:
        _say("stopped; nothing is kept")
        raise typer.Exit(130) from None
    return judged(row, pairs, tolerance)


def _again(
    record: AttemptRow, registry: Registry, options: RunOptions, folder: Path, longest_s: float
) -> AttemptRow:
    from flowbench.cli.reproduce import run_once
    from flowbench.leaderboard.verify import qualities, rerun_budget
    from flowbench.runner.reproduce import job_again

    metrics = {m.metric for m in qualities(record)}
    budget = rerun_budget(record, longest_s)
    again = job_again(record, registry, options.data_dir, budget=budget, only=metrics)
    return run_once(*again, options, folder, record.num_threads)


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    import tempfile

    if given is not None:
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="flowbench-verify-") as folder:
        yield Path(folder)


def _say(line: str) -> None:
    print(*wrapped(visible(line), terminal_width()), sep="\n")
