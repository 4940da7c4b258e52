"""Names -> hashes of the code behind them."""

from __future__ import annotations

from collections.abc import Iterable

from flowbench.code_hash import CodeHashes, core_sha256, part_sha256
from flowbench.registry.registry import Registry


def job_code(registry: Registry, model: str, dataset: str, metrics: Iterable[str]) -> CodeHashes:
    """The code that a job is made by, as it is on disk now.

    Args:
        model: Name of its model, without a preset.
        metrics: Names of its metrics.
    """
    return CodeHashes(
        core=core_sha256(),
        model=model_code(registry, model),
        dataset=dataset_code(registry, dataset),
        metrics={name: metric_code(registry, name) for name in metrics},
    )


def model_code(registry: Registry, name: str) -> str:
    """Hash of the code of a model and its configuration."""
    spec = registry.model(name).spec
    return part_sha256([spec.model, spec.config])


def dataset_code(registry: Registry, name: str) -> str:
    """Hash of the code that makes a dataset."""
    spec = registry.dataset(name).spec
    return part_sha256([spec.load, spec.convert])


def metric_code(registry: Registry, name: str) -> str:
    """Hash of the code of a metric."""
    return part_sha256([registry.metric(name).spec.compute])
