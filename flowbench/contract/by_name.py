"""Checks plugin parts by name, whatever kind they are, and keeps the outcome."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from flowbench.code_hash import combined, core_sha256
from flowbench.contract.checking.checks import LIMIT_S
from flowbench.contract.checking.report import CheckReport, Kind
from flowbench.contract.dataset_contract import check_dataset
from flowbench.contract.metric_contract import check_metric
from flowbench.contract.model_contract import check_model
from flowbench.errors import UnknownNameError, unknown_name
from flowbench.registry import Entry, Registry
from flowbench.registry.code import dataset_code, metric_code, model_code
from flowbench.store.checks import CheckRow, write_check

Pending = Callable[[], CheckReport]


def checks_of(
    registry: Registry,
    names: Sequence[str] | None,
    *,
    dataset: str | None,
    slow: bool,
    data_dir: Path,
    limit_s: float = LIMIT_S,
    jobs: int = 1,
) -> list[tuple[str, Pending]]:
    """What is to be checked, in order; a name stands for every part that carries it.

    Args:
        names: Models (``name`` or ``name:preset``), datasets and metrics; None means all.
        dataset: Check models on random data of this dataset's form.
        slow: Whether to run the checks that train a model as well.
        data_dir: Where prepared datasets are.
        limit_s: Seconds after which a check is interrupted and has failed.
        jobs: Forms to check a model on at a time.

    Returns:
        The kind and name of each part, and the function that checks it.
    """
    names = names_of(registry) if names is None else names
    checks: dict[Kind, Callable[..., CheckReport]] = {
        "model": partial(check_model, dataset=dataset, slow=slow, limit_s=limit_s, jobs=jobs),
        "dataset": partial(check_dataset, data_dir=data_dir, limit_s=limit_s),
        "metric": partial(check_metric, limit_s=limit_s),
    }
    return [
        (f"{kind} {name}", partial(checks[kind], registry, name))
        for name in names
        for kind in _kinds(registry, name)
    ]


def names_of(registry: Registry, files: Collection[Path] | None = None) -> list[str]:
    """Names of what is registered.

    Args:
        files: Plugin files; None for all plugins, of whatever kind.

    Returns:
        The names, each once: models, then datasets, then metrics.
    """
    sources = None if files is None else {str(path) for path in files}
    named = ((name, entry) for part in _parts(registry).values() for name, entry in part.items())
    return list(
        dict.fromkeys(
            name for name, entry in named if sources is None or entry.source.distribution in sources
        )
    )


def _parts(registry: Registry) -> dict[Kind, Mapping[str, Entry[Any]]]:
    """What is registered, of each kind."""
    return {"model": registry.models, "dataset": registry.datasets, "metric": registry.metrics}


def _kinds(registry: Registry, name: str) -> list[Kind]:
    parts = _parts(registry)
    kinds = [kind for kind, entries in parts.items() if _bare(kind, name) in entries]
    if not kinds:
        known = itertools.chain(*parts.values())
        raise UnknownNameError(
            unknown_name("model, dataset or metric", name, known, "flowbench list")
        )
    return kinds


def _bare(kind: Kind, name: str) -> str:
    """A name without its preset, which models alone have."""
    return name.partition(":")[0] if kind == "model" else name


def keep(registry: Registry, report: CheckReport, results: Path) -> None:
    """Keeps a report in the store, so that boards can show it."""
    name = _bare(report.kind, report.name)
    source = _parts(registry)[report.kind][name].source
    code_of = {"model": model_code, "dataset": dataset_code, "metric": metric_code}
    row = CheckRow(
        kind=report.kind,
        name=report.name,
        status=report.status,
        plugin=source.distribution,
        plugin_version=source.version,
        flowbench_version=metadata.version("flowbench"),
        code_sha256=combined(core_sha256(), code_of[report.kind](registry, name)),
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=report.seconds,
        checks=tuple(report.as_json()["checks"]),
    )
    write_check(results, row)
