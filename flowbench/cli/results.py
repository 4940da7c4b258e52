"""``flowbench results``: what was measured so far."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowbench import paths
from flowbench.cli import complete, submission
from flowbench.cli.columns import print_columns, terminal_width, visible
from flowbench.cli.options import AsJson, OnlyDataset, OnlyModel, Results
from flowbench.errors import did_you_mean

if TYPE_CHECKING:
    from flowbench.store.records import AttemptRow

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

JSON_BATCH = 500  # attempts: a few MB

app = typer.Typer(help="List, show, export, query and submit results.", no_args_is_help=True)
app.command("submit")(submission.submit)
app.command("verify")(submission.verify)


@app.command("list")
def list_(
    model: OnlyModel = None,
    dataset: OnlyDataset = None,
    status: Annotated[
        str | None,
        typer.Option(
            help=f"Only this status or mark: ok, crashed, {', '.join(complete.MARKS)}, "
            f"{complete.TRIAL} \\[default: all].",
            autocompletion=complete.statuses,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the last so many \\[default: all].")
    ] = None,
    as_json: AsJson = False,
    results: Results = None,
) -> None:
    """List every attempt, failed ones included, oldest first."""
    from flowbench.store.queries import list_attempts
    from flowbench.store.reconcile import readable

    with readable(paths.results_dir(results)) as folder:
        every = list_attempts(folder)
        asked = {"model": model, "dataset": dataset, "status": status}
        wanted = {flag: value for flag, value in asked.items() if value is not None}
        found = [
            attempt
            for attempt in every
            if all(value in _called(attempt, flag) for flag, value in wanted.items())
        ]
        attempts = found if limit is None else found[-limit:]
        if as_json:
            _print_json(folder, attempts)
            return
    rows = [
        {
            "job": attempt["job_id"],
            "status": " ".join(_states(attempt)),
            "attempt": attempt["attempt"],
            "model": " ".join(
                [f"{attempt['model']}:{attempt['preset']}", *_settings(attempt["overrides"])]
            ),
            "budget": attempt["budget"],
            "steps": attempt["steps"],
            "started": attempt["started"].replace("+00:00", "Z"),
            "likelihood": _likelihood(**attempt["likelihood"]) if attempt["likelihood"] else "",
            "trial": _trial(**attempt["trial"]) if attempt["trial"] else "",
        }
        for attempt in attempts
    ]
    width = terminal_width()
    if not any(row["trial"] for row in rows):
        rows = [{key: value for key, value in row.items() if key != "trial"} for row in rows]
    if rows:
        print_columns(rows, rows[0], width)
        if width is not None and len(rows) < len(found):
            print(f"(the last {len(rows):,} of {len(found):,})")
    elif every:
        print(f"none of the {len(every)} attempts is like that{_nearest(every, wanted)}")
    else:
        print("no results yet (flowbench run --models realnvp,glow)")


def _settings(overrides: Mapping[str, Any]) -> list[str]:
    """What was set on top of a preset, as ``--set`` takes it."""
    return [f"{key}={value}" for key, value in sorted(overrides.items())]


def _print_json(folder: Path, attempts: list[dict[str, Any]]) -> None:
    """Prints an array, one attempt a line, some at a time: all their values take much memory."""
    from flowbench.store.queries import metrics_of

    print("[", end="")
    for start in range(0, len(attempts), JSON_BATCH):
        batch = attempts[start : start + JSON_BATCH]
        metrics = metrics_of(folder, [attempt["name"] for attempt in batch])
        lines = (json.dumps({**one, "metrics": metrics.get(one["name"], {})}) for one in batch)
        print("," if start else "", ",\n".join(lines), sep="\n", end="")
    print("\n]")


def _states(attempt: Mapping[str, Any]) -> list[str]:
    """The status of an attempt and the marks that it carries."""
    trial = [complete.TRIAL] if attempt["trial"] else []
    return [attempt["status"], *trial, *(mark for mark in complete.MARKS if attempt[mark])]


def _called(attempt: dict[str, Any], flag: str) -> list[str]:
    """What ``--model``, ``--dataset`` or ``--status`` may say to mean an attempt."""
    if flag == "status":
        return _states(attempt)
    names = [attempt[flag]]
    return [*names, f"{attempt['model']}:{attempt['preset']}"] if flag == "model" else names


def _nearest(every: list[dict[str, Any]], wanted: dict[str, str]) -> str:
    """What may have been meant by a value that no attempt has."""
    for flag, value in wanted.items():
        known = {name for attempt in every for name in _called(attempt, flag)}
        if value not in known:
            return f": no --{flag} {value!r}; {did_you_mean(value, known).strip()}"
    return ""


def _trial(sweep: str, number: int, value: float | None, unit: str | None) -> str:
    """Which trial of which sweep, and what it came to on validation."""
    came_to = "" if value is None else f", {value:.4f} {unit}"
    return f"{number} of {sweep[:6]}{came_to}"


def _likelihood(value: float, unit: str) -> str:
    return f"{value:.4f} {unit}"


@app.command("show")
def show(
    which: Annotated[
        str,
        typer.Argument(
            help="Id of an attempt or a job, or how it begins.", autocompletion=complete.jobs
        ),
    ],
    results: Results = None,
) -> None:
    """Print one attempt's whole record as JSON."""
    print(visible(_find(paths.results_dir(results), which).model_dump_json(indent=1)))


@app.command("logs")
def logs(
    which: Annotated[
        str,
        typer.Argument(
            help="Id of an attempt or a job, or how it begins.", autocompletion=complete.jobs
        ),
    ],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as the log grows, until the job ends.")
    ] = False,
    results: Results = None,
) -> None:
    """Print the log of an attempt; of one that runs, as far as it is."""
    from flowbench.runner.survey import find_attempt_dir, log_lines

    folder = paths.results_dir(results)
    attempt = find_attempt_dir(folder, which)
    num_lines = 0
    if attempt is not None:
        for line in log_lines(attempt, follow=follow):
            print(_log_line(line), flush=follow)
            num_lines += 1
    if attempt is not None and not attempt.ended and (beat := attempt.heartbeat()):
        print(f"{attempt.path.parent.name}-{attempt.number}: {beat.doing}, step {beat.step:,}")
        return
    record = (attempt and attempt.record()) or _find(folder, which)
    if not num_lines:
        print(visible((record.log_tail or "(left no log)").rstrip()))
    ended = f"{record.attempt_id}: {record.status}, {record.steps:,} steps, {record.wall_s:.1f} s"
    print(visible(f"{ended}: {record.reason}" if record.reason else ended))


def _log_line(line: str) -> str:
    """A line of a log: of a progress bar its last state, without colours."""
    return visible(_COLOUR.sub("", line.rstrip().rpartition("\r")[2]))


def _find(results: Path, which: str) -> AttemptRow:
    from flowbench.store.queries import find_attempt
    from flowbench.store.reconcile import readable

    with readable(results) as folder:
        return find_attempt(folder, which).record


@app.command("export")
def export(
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            help="Suites, or claims, to keep as text \\[default: export every measured value].",
            autocompletion=complete.suites,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="File to write (.csv, .parquet or .json) \\[default: results.csv]; for suites the "
            "folder to keep them in \\[default: RESULTS/reference].",
        ),
    ] = None,
    results: Results = None,
) -> None:
    """Write every measured value, one row each; or keep what boards of suites show, as text.

    Only those attempts are kept, small enough for git. Their folder is a results folder of its own:
    flowbench leaderboard SUITE --results results/reference makes the same page from it, and the
    other commands here read it too.
    """
    folder = paths.results_dir(results)
    if suites:
        from flowbench.leaderboard import keep_claims, keep_suites
        from flowbench.suite.claims import load_claims
        from flowbench.suite.find import find_suite
        from flowbench.suite.load import load_suite

        kept = out or folder / "reference"
        named = [load_suite(find_suite(name)) for name in suites if name != "claims"]
        for path in keep_suites(folder, named, kept):
            print(path)
        if "claims" in suites:
            print(keep_claims(folder, load_claims(), kept))
        return
    from flowbench.store import queries
    from flowbench.store.reconcile import readable

    with readable(folder) as stored:
        print(queries.export(stored, out or Path("results.csv")))


@app.command("query")
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT statement.")],
    as_json: AsJson = False,
    results: Results = None,
) -> None:
    """Query the tables results, jobs, attempts, measurements and curves with SQL."""
    from flowbench.store import queries
    from flowbench.store.reconcile import readable

    with readable(paths.results_dir(results)) as folder:
        found = queries.query(folder, sql)
    if as_json:
        rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        print(json.dumps(rows, indent=1, default=str))
        return
    print_columns((dict(zip(found.columns, row, strict=True)) for row in found.rows), found.columns)


@app.command("merge")
def merge(
    folders: Annotated[
        list[Path], typer.Argument(help="Results folders to bring attempts from.", metavar="DIR")
    ],
    verified: Annotated[
        Path | None,
        typer.Option(
            help="Folder of outcomes that results verify --record kept, of bundles "
            "\\[default: none, all stands as self-reported]."
        ),
    ] = None,
    results: Results = None,
) -> None:
    """Bring the attempts of other results folders, or of bundles, into this one.

    The others stay as they are. What is here already is left out, so that the same command again
    brings what is new. Rows of bundles say on boards whether they are verified or self-reported.
    """
    from flowbench.cli.quantities import count_text
    from flowbench.runner.attempt import ResultsDir
    from flowbench.runner.merge import merge
    from flowbench.store.bundles import (
        is_bundle,
        precedence,
        read_bundle,
        read_verifications,
        take_in,
    )

    into = ResultsDir(paths.results_dir(results))
    outcomes = read_verifications(verified) if verified else {}
    bundles = [read_bundle(folder) for folder in folders if is_bundle(folder)]
    # Of two attempts at one job the first is taken.
    for bundle in sorted(bundles, key=lambda one: precedence(outcomes.get(one.sha256))):
        new, known = take_in(into.path, bundle, outcomes.get(bundle.sha256))
        print(visible(f"{bundle.path}: {count_text(new, 'attempt')} brought, {known} known"))
    for folder in folders:
        if is_bundle(folder):
            continue
        found = merge(into, folder)
        line = f"{folder}: {count_text(found.brought, 'attempt')} brought, {found.known} known"
        line += f", {found.open} still under way" if found.open else ""
        print(visible(line))
        for problem in found.problems:
            print(visible(f"  left out: {problem}"))
