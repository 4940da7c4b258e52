"""``flowbench compare``: one row less another."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from flowbench import paths
from flowbench.cli import complete
from flowbench.cli.options import AsJson, Results

_ROW = "as boards name it, model or model:preset; or how the id of one of its jobs begins."


def compare(
    a: Annotated[str, typer.Argument(help=f"A row {_ROW}", autocompletion=complete.rows)],
    b: Annotated[str, typer.Argument(help="The other row.", autocompletion=complete.rows)],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Only this dataset \\[default: all that both ran on].",
            autocompletion=complete.datasets,
        ),
    ] = None,
    as_json: AsJson = False,
    results: Results = None,
) -> None:
    """Compare two rows: A less B for each value, with interval, p-value and verdict.

    The seed is the replicate: rows are paired by the seeds that both have. Where it is open which
    is better, the number of seeds is said that would settle it.
    """
    from flowbench.leaderboard.compare import compare_rows

    found = compare_rows(paths.results_dir(results), a, b, dataset)
    if as_json:
        print(json.dumps([asdict(one) for one in found], indent=1))
        return
    from rich.console import Console

    from flowbench.leaderboard.render import comparison

    Console().print(comparison.render(found))
