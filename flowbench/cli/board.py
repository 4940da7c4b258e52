"""``flowbench leaderboard``: renders boards from the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowbench import paths
from flowbench.cli.options import Results


def leaderboard(
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="html, md or csv; repeatable [default: html]."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("boards"),
    results: Results = None,
) -> None:
    """Write the board of all results as one self-contained file."""
    from flowbench.leaderboard import write_board

    for path in write_board(paths.results_dir(results), out, formats=tuple(formats or ("html",))):
        print(path)
