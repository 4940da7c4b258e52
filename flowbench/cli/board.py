"""``flowbench leaderboard``: renders boards from the store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowbench import paths
from flowbench.cli import complete
from flowbench.cli.options import Results

if TYPE_CHECKING:
    from flowbench.leaderboard.board.table import Board


def leaderboard(
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            help="Suites (flowbench list suites) \\[default: a board of all results].",
            autocompletion=complete.suites,
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Write every suite that has something to show.")
    ] = False,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="html, md, latex, csv, parquet or terminal; can be repeated \\[default: html].",
            autocompletion=complete.one_of("html", "md", "latex", "csv", "parquet", "terminal"),
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Exit with status 1 if a value is missing, failed, stale, contended or from a "
            "single run, or if its model fails the contract.",
        ),
    ] = False,
    folders: Annotated[
        bool,
        typer.Option(
            "--folders",
            help="Give each board a folder of its own, NAME/index.html, and list them.",
        ),
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("boards"),
    results: Results = None,
) -> None:
    """Write boards as self-contained files: published values beside those in the store."""
    from flowbench.leaderboard import check_formats, problems, write_boards

    chosen = formats or ["html"]
    files = [name for name in chosen if name != "terminal"]
    check_formats(files)  # before the boards are laid out
    found = _boards(
        paths.results_dir(results), suites or [], every=every, with_details="html" in files
    )
    if "terminal" in chosen:
        _print(found)
    for path in write_boards(found, out, files, folders=folders) if files else ():
        print(path)
    wrong = [problem for board in found for problem in problems(board)] if strict else []
    for problem in wrong:
        print(problem, file=sys.stderr)
    if wrong:
        raise typer.Exit(1)


def _boards(results: Path, names: list[str], *, every: bool, with_details: bool) -> list[Board]:
    from flowbench.errors import LeaderboardError
    from flowbench.leaderboard import boards, suite_boards
    from flowbench.leaderboard.claims import claims_board
    from flowbench.suite.claims import load_claims
    from flowbench.suite.find import find_suite, shipped_suites
    from flowbench.suite.load import load_suite

    if every and names:
        raise LeaderboardError("--all shows every suite; leave out --all or the names")
    if not every and not names:
        return boards(results, with_details=with_details)
    files = (
        list(shipped_suites().values())
        if every
        else [find_suite(name) for name in names if name != "claims"]
    )
    suites = [load_suite(path) for path in files]
    found = suite_boards(results, suites, with_details=with_details, skip_empty=every)
    if every or "claims" in names:
        claimed = claims_board(results, load_claims(), with_details=with_details)
        found += [claimed] if claimed.has_ours or not every else []
    return found


def _print(found: list[Board]) -> None:
    from rich.console import Console

    from flowbench.leaderboard.render import terminal

    Console().print(terminal.render(found))
