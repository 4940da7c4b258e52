"""Checks plugin parts by name, whatever kind they are, and keeps the outcome."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path

from flowbench.contract.dataset_contract import check_dataset
from flowbench.contract.metric_contract import check_metric
from flowbench.contract.model_contract import check_model
from flowbench.contract.report import CheckReport
from flowbench.errors import UnknownNameError, unknown_name
from flowbench.provenance import code_sha256
from flowbench.registry import Registry
from flowbench.store.checks import CheckRow, record_check

Pending = Callable[[], CheckReport]


def checks_of(
    registry: Registry, names: list[str], *, dataset: str | None, slow: bool, data_dir: Path
) -> list[tuple[str, Pending]]:
    """What is to be checked, in order; a name stands for every part that carries it.

    Args:
        registry: The loaded plugins.
        names: Models (``name`` or ``name:preset``), datasets and metrics; empty means all.
        dataset: Check models on random data of this dataset's form.
        slow: Whether to run the checks that train a model as well.
        data_dir: Where prepared datasets are.

    Returns:
        The kind and name of each part, and the function that checks it.
    """
    if not names:
        names = list(dict.fromkeys((*registry.models, *registry.datasets, *registry.metrics)))
    pending: list[tuple[str, Pending]] = []
    for name in names:
        pending += _checks_of_one(registry, name, dataset, slow, data_dir)
    return pending


def _checks_of_one(
    registry: Registry, name: str, dataset: str | None, slow: bool, data_dir: Path
) -> list[tuple[str, Pending]]:
    found: list[tuple[str, Pending]] = []
    if name.partition(":")[0] in registry.models:
        model = partial(check_model, registry, name, dataset=dataset, slow=slow)
        found.append((f"model {name}", model))
    if name in registry.datasets:
        found.append((f"dataset {name}", partial(check_dataset, registry, name, data_dir)))
    if name in registry.metrics:
        found.append((f"metric {name}", partial(check_metric, registry, name)))
    if not found:
        known = (*registry.models, *registry.datasets, *registry.metrics)
        raise UnknownNameError(
            unknown_name("model, dataset or metric", name, known, "flowbench list")
        )
    return found


def keep(registry: Registry, report: CheckReport, results: Path) -> None:
    """Keeps a report in the store, so that boards can show it.

    Args:
        registry: The loaded plugins.
        report: The report.
        results: The results folder.
    """
    name = report.name.partition(":")[0]
    if report.kind == "model":
        source = registry.model(name).source
        code = registry.model(name).spec.model
    elif report.kind == "dataset":
        source = registry.dataset(name).source
        code = registry.dataset(name).spec.load or source.module
    else:
        source = registry.metric(name).source
        code = registry.metric(name).spec.compute
    row = CheckRow(
        kind=report.kind,
        name=report.name,
        status=report.status,
        plugin=source.distribution,
        plugin_version=source.version,
        flowbench_version=metadata.version("flowbench"),
        code_sha256=code_sha256([code]),
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=report.seconds,
        checks=tuple(report.as_json()["checks"]),
    )
    record_check(results, row)
