"""Name -> spec, and the distribution that it came from."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flowbench.api.specs import DatasetSpec, MetricSpec, ModelSpec
from flowbench.errors import DuplicateNameError, PluginLoadError, UnknownNameError, unknown_name
from flowbench.registry.entry_points import Plugin, PluginSelection, PluginSource, load_plugins

SpecT = TypeVar("SpecT", ModelSpec, DatasetSpec, MetricSpec)


@dataclass(frozen=True)
class Entry(Generic[SpecT]):
    """A spec and the plugin that registered it."""

    spec: SpecT
    source: PluginSource

    def resolve(self, reference: str) -> Any:
        """Imports what a lazy reference of the spec names.

        Args:
            reference: ``"module:name"``.

        Returns:
            The object.

        Raises:
            PluginLoadError: The module does not import or lacks the name.
        """
        module, _, name = reference.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except Exception as exc:  # plugin code runs here: the border of plugin loading
            cause = f"{type(exc).__name__}: {' '.join(str(exc).split())}"
            raise PluginLoadError(
                f"{self.spec.name!r} of {self.source.distribution} does not load "
                f"({reference}): {cause}"
            ) from exc


@dataclass(frozen=True)
class Registry:
    """Everything that the loaded plugins register.

    Attributes:
        models: Models by name.
        datasets: Datasets by name.
        metrics: Metrics by name, in order of registration.
        plugins: The plugins, quarantined ones included.
    """

    models: Mapping[str, Entry[ModelSpec]]
    datasets: Mapping[str, Entry[DatasetSpec]]
    metrics: Mapping[str, Entry[MetricSpec]]
    plugins: tuple[Plugin, ...]

    def model(self, name: str) -> Entry[ModelSpec]:
        """The model of a name; `UnknownNameError` if there is none."""
        return self._get("model", self.models, name)

    def dataset(self, name: str) -> Entry[DatasetSpec]:
        """The dataset of a name; `UnknownNameError` if there is none."""
        return self._get("dataset", self.datasets, name)

    def metric(self, name: str) -> Entry[MetricSpec]:
        """The metric of a name; `UnknownNameError` if there is none."""
        return self._get("metric", self.metrics, name)

    def _get(self, kind: str, entries: Mapping[str, Entry[SpecT]], name: str) -> Entry[SpecT]:
        if name in entries:
            return entries[name]
        broken = [p.source.distribution for p in self.plugins if p.cause]
        see = f"flowbench list {kind}s"
        if broken:
            see += f"; quarantined: {', '.join(sorted(set(broken)))}, see flowbench plugins"
        raise UnknownNameError(unknown_name(kind, name, entries, see))


def load_registry(selection: PluginSelection) -> Registry:
    """Loads the selected plugins into a registry.

    Args:
        selection: Which plugins to load.

    Returns:
        The registry.

    Raises:
        DuplicateNameError: Two plugins register one name of a kind.
    """
    plugins = load_plugins(selection)
    return Registry(
        models=_entries("model", plugins, ModelSpec),
        datasets=_entries("dataset", plugins, DatasetSpec),
        metrics=_entries("metric", plugins, MetricSpec),
        plugins=tuple(plugins),
    )


def _entries(
    kind: str, plugins: Iterable[Plugin], spec_type: type[SpecT]
) -> dict[str, Entry[SpecT]]:
    entries: dict[str, Entry[SpecT]] = {}
    for plugin in plugins:
        for spec in plugin.specs:
            if not isinstance(spec, spec_type):
                continue
            if spec.name in entries:
                first, second = entries[spec.name].source, plugin.source
                raise DuplicateNameError(
                    f"{kind} {spec.name!r} is registered by both "
                    f"{first.label} ({first.version}) and {second.label} "
                    f"({second.version}); leave one out with --no-plugin"
                )
            entries[spec.name] = Entry(spec, plugin.source)
    return entries
