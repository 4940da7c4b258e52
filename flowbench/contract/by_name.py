"""Checks plugin parts by name, whatever kind they are, and keeps the outcome."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path

from flowbench.code_hash import combined, core_sha256
from flowbench.contract.checks import LIMIT_S
from flowbench.contract.dataset_contract import check_dataset
from flowbench.contract.metric_contract import check_metric
from flowbench.contract.model_contract import check_model
from flowbench.contract.report import CheckReport, Kind
from flowbench.errors import UnknownNameError, unknown_name
from flowbench.registry import Registry
from flowbench.registry.code import dataset_code, metric_code, model_code
from flowbench.store.checks import CheckRow, record_check

Pending = Callable[[], CheckReport]


def checks_of(
    registry: Registry,
    names: Sequence[str] | None,
    *,
    dataset: str | None,
    slow: bool,
    data_dir: Path,
    limit_s: float = LIMIT_S,
) -> list[tuple[str, Pending]]:
    """What is to be checked, in order; a name stands for every part that carries it.

    Args:
        names: Models (``name`` or ``name:preset``), datasets and metrics; None means all.
        dataset: Check models on random data of this dataset's form.
        slow: Whether to run the checks that train a model as well.
        data_dir: Where prepared datasets are.
        limit_s: Seconds after which a check is interrupted and has failed.

    Returns:
        The kind and name of each part, and the function that checks it.
    """
    names = names_of(registry) if names is None else names
    checks: dict[Kind, Callable[..., CheckReport]] = {
        "model": partial(check_model, dataset=dataset, slow=slow, limit_s=limit_s),
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
    parts = (registry.models, registry.datasets, registry.metrics)
    named = ((name, entry) for entries in parts for name, entry in entries.items())
    return list(
        dict.fromkeys(
            name for name, entry in named if sources is None or entry.source.distribution in sources
        )
    )


def _kinds(registry: Registry, name: str) -> list[Kind]:
    carriers: dict[Kind, tuple[str, Mapping[str, object]]] = {
        "model": (name.partition(":")[0], registry.models),
        "dataset": (name, registry.datasets),
        "metric": (name, registry.metrics),
    }
    kinds = [kind for kind, (bare, entries) in carriers.items() if bare in entries]
    if not kinds:
        known = (*registry.models, *registry.datasets, *registry.metrics)
        raise UnknownNameError(
            unknown_name("model, dataset or metric", name, known, "flowbench list")
        )
    return kinds


def keep(registry: Registry, report: CheckReport, results: Path) -> None:
    """Keeps a report in the store, so that boards can show it."""
    name = report.name.partition(":")[0]
    if report.kind == "model":
        source = registry.model(name).source
        code = model_code(registry, name)
    elif report.kind == "dataset":
        source = registry.dataset(name).source
        code = dataset_code(registry, name)
    else:
        source = registry.metric(name).source
        code = metric_code(registry, name)
    row = CheckRow(
        kind=report.kind,
        name=report.name,
        status=report.status,
        plugin=source.distribution,
        plugin_version=source.version,
        flowbench_version=metadata.version("flowbench"),
        code_sha256=combined(core_sha256(), code),
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=report.seconds,
        checks=tuple(report.as_json()["checks"]),
    )
    record_check(results, row)
