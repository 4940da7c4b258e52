"""``flowbench new``: starts a plugin package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from flowbench.cli import complete

KINDS = ("model", "dataset", "metric")


def new(
    kind: Annotated[
        str,
        typer.Argument(help="model, dataset or metric.", autocompletion=complete.one_of(*KINDS)),
    ],
    name: Annotated[str, typer.Argument(help="Its name, such as my-flow.")],
    folder: Annotated[
        Path, typer.Option("--dir", help="Folder in which to create flowbench-NAME.")
    ] = Path(),
) -> None:
    """Write a complete, installable, tested plugin package."""
    from flowbench.errors import SuiteError

    if kind not in KINDS:
        raise SuiteError(f"cannot make a new {kind!r}; expected one of {', '.join(KINDS)}")
    from flowbench.contract.scaffold import write_distribution

    chosen = cast("Literal['model', 'dataset', 'metric']", kind)
    files = write_distribution(chosen, name, folder)
    root = folder / f"flowbench-{name}"
    for path in files:
        print(path)
    # Metrics are columns and keys, so their names have underscores.
    shown = name.replace("-", "_") if kind == "metric" else name
    print(f'next: pip install -e "{root}[dev]" && flowbench check {shown}')
