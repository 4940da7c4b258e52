"""Name -> spec, and the distribution that it came from."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Generic, TypeVar

from flowbench.api.executors import ExecutorSpec
from flowbench.api.hooks import API_VERSION
from flowbench.api.specs import DatasetSpec, MetricSpec, ModelSpec
from flowbench.api.trackers import TrackerSpec
from flowbench.data.library.folder import folder_spec, is_folder
from flowbench.errors import (
    DuplicateNameError,
    PluginLoadError,
    UnknownNameError,
    did_you_mean,
    reason_of,
    unknown_name,
)
from flowbench.registry import executors, trackers
from flowbench.registry.containment import contained
from flowbench.registry.entry_points import (
    PLUGIN_ERRORS,
    Plugin,
    PluginSelection,
    PluginSource,
    collect_specs,
    load_plugins,
)

FOLDERS = PluginSource(
    distribution="flowbench",
    version=metadata.version("flowbench"),
    name="folder",
    module="flowbench.data.library.folder",
)
OWN = (executors, trackers)
SpecT = TypeVar("SpecT", ModelSpec, DatasetSpec, MetricSpec, ExecutorSpec, TrackerSpec)
KINDS: Mapping[str, type] = {
    "model": ModelSpec,
    "dataset": DatasetSpec,
    "metric": MetricSpec,
    "executor": ExecutorSpec,
    "tracker": TrackerSpec,
}


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
            found = sys.modules.get(module)
            if found is None:  # what is loaded can change nothing by being imported once more
                with contained(module):
                    found = importlib.import_module(module)
        except PLUGIN_ERRORS as exc:  # plugin code runs here: the border of plugin loading
            raise self._does_not_load(reference, reason_of(exc)) from exc
        if not hasattr(found, name):
            hint = did_you_mean(name, (key for key in vars(found) if not key.startswith("_")))
            raise self._does_not_load(reference, f"{module} has no {name!r}; {hint.strip()}")
        return getattr(found, name)

    def _does_not_load(self, reference: str, cause: str) -> PluginLoadError:
        return PluginLoadError(
            f"{self.spec.name!r} of {self.source.distribution} does not load ({reference}): {cause}"
        )


@dataclass(frozen=True)
class Registry:
    """Everything that the loaded plugins register.

    Attributes:
        models: Models by name.
        datasets: Datasets by name.
        metrics: Metrics by name, in order of registration.
        executors: Executors by name, those of flowbench itself among them.
        trackers: Trackers, likewise.
        plugins: The plugins, quarantined ones included.
    """

    models: Mapping[str, Entry[ModelSpec]]
    datasets: Mapping[str, Entry[DatasetSpec]]
    metrics: Mapping[str, Entry[MetricSpec]]
    executors: Mapping[str, Entry[ExecutorSpec]]
    trackers: Mapping[str, Entry[TrackerSpec]]
    plugins: tuple[Plugin, ...]

    def model(self, name: str) -> Entry[ModelSpec]:
        """The model of a name; `UnknownNameError` if there is none."""
        return self._get("model", self.models, name)

    def dataset(self, name: str) -> Entry[DatasetSpec]:
        """The dataset of a name or of a folder; `UnknownNameError` if there is none."""
        if is_folder(name):
            return Entry(folder_spec(name), FOLDERS)
        return self._get("dataset", self.datasets, name)

    def metric(self, name: str) -> Entry[MetricSpec]:
        """The metric of a name.

        Args:
            name: The metric's; not that of one of its values, such as ``fid@5000``.

        Returns:
            The entry.

        Raises:
            UnknownNameError: There is none.
        """
        # People copy names from boards, where a value says how many samples it took.
        plain, at, num = name.partition("@")
        if at and plain in self.metrics:
            raise UnknownNameError(
                f"{name!r} is a value, not a metric; ask for --metrics {plain} --num-samples {num}"
            )
        return self._get("metric", self.metrics, name)

    def executor(self, name: str) -> Entry[ExecutorSpec]:
        """The executor of a name; `UnknownNameError` if there is none."""
        return self._get("executor", self.executors, name)

    def tracker(self, name: str) -> Entry[TrackerSpec]:
        """The tracker of a name; `UnknownNameError` if there is none."""
        return self._get("tracker", self.trackers, name)

    def _get(self, kind: str, entries: Mapping[str, Entry[SpecT]], name: str) -> Entry[SpecT]:
        if name in entries:
            return entries[name]
        # What is not known may well be registered by a plugin that did not load.
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
    every = [*own_plugins(), *plugins]
    clashes = name_clashes(every)
    if clashes:
        # An error and no precedence: which of two models made a result must not depend on what else
        # is installed.
        raise DuplicateNameError(next(iter(clashes.values())))
    return Registry(
        models=_entries(every, ModelSpec),
        datasets=_entries(every, DatasetSpec),
        metrics=_entries(every, MetricSpec),
        executors=_entries(every, ExecutorSpec),
        trackers=_entries(every, TrackerSpec),
        plugins=tuple(plugins),
    )


def own_plugins() -> list[Plugin]:
    """What flowbench itself brings, as plugins that nobody can leave out."""
    return [
        Plugin(
            source=PluginSource(
                distribution="flowbench",
                version=metadata.version("flowbench"),
                name=module.__name__.rpartition(".")[2],
                module=module.__name__,
            ),
            specs=collect_specs(module),
            api_version=API_VERSION,
        )
        for module in OWN
    ]


def name_clashes(plugins: Iterable[Plugin]) -> dict[str, str]:
    """The plugins that register a name which another one has.

    Args:
        plugins: Plugins that were loaded.

    Returns:
        The label of the later plugin of each pair, and both of them in words.
    """
    first: dict[tuple[str, str], PluginSource] = {}
    clashes: dict[str, str] = {}
    for plugin in plugins:
        for spec in plugin.specs:
            kind = next(name for name, cls in KINDS.items() if isinstance(spec, cls))
            other = first.get((kind, spec.name))
            # The first keeps the name, so that a third is told of it and not of the second.
            first[kind, spec.name] = other or plugin.source
            if other is not None:
                clashes[plugin.source.label] = _clash(kind, spec.name, other, plugin.source)
    return clashes


def _clash(kind: str, name: str, first: PluginSource, second: PluginSource) -> str:
    if first is second:
        return f"{kind} {name!r} is registered twice by {first.label} ({first.version})"
    return (
        f"{kind} {name!r} is registered by both {first.label} ({first.version}) and "
        f"{second.label} ({second.version}); leave one out with --no-plugin"
    )


def _entries(plugins: Iterable[Plugin], spec_type: type[SpecT]) -> dict[str, Entry[SpecT]]:
    return {
        spec.name: Entry(spec, plugin.source)
        for plugin in plugins
        for spec in plugin.specs
        if isinstance(spec, spec_type)
    }
