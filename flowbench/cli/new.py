"""``flowbench new``: starts a plugin package."""

from __future__ import annotations

import sys
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
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="What pip installs flowbench from in the package's CI \\[default: where this one "
            "came from].",
        ),
    ] = None,
) -> None:
    """Write a complete, installable, tested plugin package."""
    from flowbench.errors import SuiteError

    if kind not in KINDS:
        raise SuiteError(f"cannot make a new {kind!r}; expected one of {', '.join(KINDS)}")
    from flowbench.contract.origin import INDEX, installed_from
    from flowbench.contract.scaffold import write_distribution

    chosen = cast("Literal['model', 'dataset', 'metric']", kind)
    found = source or installed_from()
    files = write_distribution(chosen, name, folder, found or INDEX)
    root = folder / f"flowbench-{name}"
    for path in files:
        print(path)
    # Metrics are columns and keys, so their names have underscores.
    shown = name.replace("-", "_") if kind == "metric" else name
    print(f"its CI installs flowbench by: pip install {found or INDEX}")
    if found is None:
        print(
            "warning: this flowbench is of files that only this machine has, and the index may "
            "have none; name another place by --from, e.g. git+https://HOST/OWNER/flowbench",
            file=sys.stderr,
        )
    print(f'next: pip install -e "{root}[dev]" && flowbench check {shown}')
