"""``flowbench worker``: the one command that a cluster is to run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def worker(
    order: Annotated[
        Path, typer.Argument(help="Folder of an attempt: results/runs/JOB/NUMBER.", metavar="ORDER")
    ],
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads \\[default: the cores that it may use].", min=1, max=4096),
    ] = None,
) -> None:
    """Do one work order, as SLURM, Kubernetes and the like start it; again, go on from there.

    TERM asks it to save its state. The exit status is 0 for a result, 75 for one that was
    interrupted (start it again), 3 for a failure that its record tells.
    """
    from flowbench.runner.restart import run_order

    raise typer.Exit(run_order(order, threads))
