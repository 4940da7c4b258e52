"""What the shell offers when a command is completed: names of plugins and suites, ids of jobs.

A shell asks at each press of a key, so nothing here imports torch or opens the database: names come
from specs, ids from the folders of a results folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import typer

from flowbench import paths
from flowbench.errors import FlowbenchError

if TYPE_CHECKING:
    from flowbench.registry import Registry

Complete = Callable[[typer.Context, str], list[str]]

MARKS = ("stale", "contended", "refuted")
"""Marks of a result beside its status; of an attempt as it is listed, keys that tell of them."""
TRIAL = "trial"
"""The mark of a trial of a sweep."""


def models(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of models."""
    return _beginning(_registered(lambda registry: registry.models), incomplete)


def datasets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of datasets."""
    return _beginning(_registered(lambda registry: registry.datasets), incomplete)


def metrics(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of metrics."""
    return _beginning(_registered(lambda registry: registry.metrics), incomplete)


def executors(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of executors."""
    return _beginning(_registered(lambda registry: registry.executors), incomplete)


def trackers(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of trackers."""
    return _beginning(_registered(lambda registry: registry.trackers), incomplete)


def prepared(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of datasets and of weights."""
    from flowbench.registry.weights import weight_files

    found = _registered(lambda registry: [*registry.datasets, *weight_files(registry)])
    return _beginning(found, incomplete)


def anything(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of models, datasets and metrics."""
    return [name for of in (models, datasets, metrics) for name in of(ctx, incomplete)]


def suites(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of suites; where none fits, shells offer files."""
    from flowbench.suite.find import shipped_suites

    return _beginning(shipped_suites(), incomplete)


def claims(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of the claims in the file that is meant."""
    from flowbench.suite.claims import load_claims

    file = ctx.params.get("file")
    try:
        found = load_claims(file and Path(file))
    except FlowbenchError:  # the command itself says it better
        return []
    return _beginning((claim.id for claim in found.claim), incomplete)


def jobs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Ids of the jobs in the results folder that is meant."""
    # Of the folder that the line names so far: --results may stand before the id.
    runs = paths.results_dir(ctx.params.get("results")) / "runs"
    return _beginning((path.name for path in runs.glob("*")), incomplete)


def rows(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of models, and ids of jobs."""
    return models(ctx, incomplete) + jobs(ctx, incomplete)


def statuses(ctx: typer.Context, incomplete: str) -> list[str]:
    """How attempts end, and marks of their results."""
    from flowbench.store.records import AttemptStatus

    return _beginning((*get_args(AttemptStatus), *MARKS, TRIAL), incomplete)


def one_of(*values: str) -> Complete:
    """Offers fixed values."""

    def offer(ctx: typer.Context, incomplete: str) -> list[str]:
        return _beginning(values, incomplete)

    return offer


def listed(complete: Complete) -> Complete:
    """Completes the last of several values between commas."""

    def offer(ctx: typer.Context, incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        given = before.split(",")
        # Shells replace the whole word, so what is before the last comma is given back as well.
        found = (name for name in complete(ctx, last) if name not in given)
        return [f"{before}{comma}{name}" for name in found]

    return offer


def _registered(names: Callable[[Registry], Iterable[str]]) -> list[str]:
    """Names among all plugins; none where they clash, which the command itself says better."""
    from flowbench.registry import PluginSelection, load_registry

    try:
        return list(names(load_registry(PluginSelection.from_environment())))
    except FlowbenchError:
        return []


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    # Sorted here, because not every shell does it.
    return sorted(name for name in names if name.startswith(incomplete))
