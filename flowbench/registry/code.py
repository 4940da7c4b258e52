"""Names -> hashes of the code behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial

from flowbench.code_hash import CodeHashes, core_sha256, part_sha256
from flowbench.registry.registry import Registry


class JobCode:
    """The code that jobs are made by, as it is on disk when it is first asked for.

    A plan of hundreds of jobs is of a few models, data and metrics, whose files are read once each.
    """

    def __init__(self, registry: Registry) -> None:
        self._core = core_sha256()
        self._model, self._dataset, self._metric = (
            _once(part, registry) for part in (model_code, dataset_code, metric_code)
        )

    def of(self, model: str, dataset: str, metrics: Iterable[str]) -> CodeHashes:
        """The code of one job.

        Args:
            model: Name of its model, without a preset.
            metrics: Names of its metrics.
        """
        return CodeHashes(
            core=self._core,
            model=self._model(model),
            dataset=self._dataset(dataset),
            metrics={name: self._metric(name) for name in metrics},
        )


def _once(part: Callable[[Registry, str], str], registry: Registry) -> Callable[[str], str]:
    return cache(partial(part, registry))


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
