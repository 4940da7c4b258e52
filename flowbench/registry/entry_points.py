"""Loads plugins, each apart from the others: a broken one is kept with its cause.

pluggy's own entry-point loader aborts at the first plugin that does not import and passes over a
second plugin of one name in silence; a benchmark can afford neither.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pluggy

from flowbench.api import hooks
from flowbench.api.executors import ExecutorSpec
from flowbench.api.specs import DatasetSpec, MetricSpec, ModelSpec
from flowbench.api.trackers import TrackerSpec
from flowbench.errors import (
    PluginLoadError,
    SuiteError,
    UnknownNameError,
    did_you_mean,
    reason_of,
    unknown_name,
)
from flowbench.registry.containment import contained
from flowbench.registry.time_limit import TimeLimitError, time_limit

GROUP = "flowbench"
ENVIRONMENT = "FLOWBENCH_PLUGINS"
VERSION_NAME = "FLOWBENCH_API_VERSION"  # what a plugin's module declares
LIMIT_ENVIRONMENT = "FLOWBENCH_IMPORT_LIMIT"
LIMIT_S = 20.0  # for a plugin's module of specs, which takes milliseconds
PLUGIN_ERRORS = (Exception, SystemExit)  # a user's Ctrl-C is no plugin's fault
Spec = ModelSpec | DatasetSpec | MetricSpec | ExecutorSpec | TrackerSpec
HOOKS: dict[str, type[Spec]] = {
    "register_models": ModelSpec,
    "register_datasets": DatasetSpec,
    "register_metrics": MetricSpec,
    "register_executors": ExecutorSpec,
    "register_trackers": TrackerSpec,
}


@dataclass(frozen=True, kw_only=True)
class PluginSelection:
    """Which plugins to load.

    Attributes:
        only: Load these alone; None loads all.
        exclude: Do not load these.
        files: Local files to load through the same door.
    """

    only: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @classmethod
    def from_environment(
        cls, exclude: Sequence[str] = (), files: Sequence[Path] = ()
    ) -> PluginSelection:
        """Reads ``FLOWBENCH_PLUGINS``, a comma-separated list; unset or empty means all.

        Args:
            exclude: Plugins named by ``--no-plugin``.
            files: Files named by ``--plugin-file``.

        Returns:
            The selection.
        """
        named = [name.strip() for name in os.environ.get(ENVIRONMENT, "").split(",")]
        only = tuple(name for name in named if name)
        return cls(only=only or None, exclude=tuple(exclude), files=tuple(files))


@dataclass(frozen=True, kw_only=True)
class PluginSource:
    """Where a plugin comes from.

    Attributes:
        distribution: The installed distribution, or the path of a plugin file.
        version: Its version; for a file, a hash of its text.
        name: Name of the entry point; for a file, its stem.
        module: The module that it names.
    """

    distribution: str
    version: str
    name: str
    module: str

    @property
    def label(self) -> str:
        """What ``--no-plugin`` and ``FLOWBENCH_PLUGINS`` call it, besides its distribution."""
        return f"{self.distribution}:{self.name}"


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A plugin as it was found.

    Attributes:
        source: Where it comes from.
        api_version: The version of the API that it says it was written for.
        cause: Why it is quarantined, in one line; None if it loaded.
        contained: What its import changed for the whole process, and was put back.
    """

    source: PluginSource
    specs: tuple[Spec, ...] = ()
    api_version: object = None
    cause: str | None = None
    traceback: str | None = None
    contained: tuple[str, ...] = ()


def load_plugins(selection: PluginSelection) -> list[Plugin]:
    """Loads the selected plugins.

    Args:
        selection: Which plugins to load.

    Returns:
        All of them, the broken ones with their cause: those that ship with flowbench, then by
        distribution and name.

    Raises:
        UnknownNameError: The selection names a plugin that is not installed.
        PluginLoadError: A plugin file does not load. The user asked for it by name, so it is not
            quarantined.
        SuiteError: ``FLOWBENCH_IMPORT_LIMIT`` is no number of seconds.
    """
    # What ships with flowbench comes first in every list and on every board.
    found = sorted(
        _installed(), key=lambda pair: (pair[0].distribution != "flowbench", pair[0].label)
    )
    # Before anything is imported: a misspelt --no-plugin would load what was to be left out.
    _check_known(selection, [source for source, _ in found])
    limit_s = import_limit_s()
    plugins = [
        _load(source, point.load, limit_s)
        for source, point in found
        if _selected(selection, source)
    ]
    return plugins + [_load_file(path, limit_s) for path in selection.files]


def _installed() -> Iterable[tuple[PluginSource, metadata.EntryPoint]]:
    seen: set[str] = set()
    for point in metadata.entry_points(group=GROUP):
        distribution = point.dist.name if point.dist else "unknown"
        version = point.dist.version if point.dist else "unknown"
        source = PluginSource(
            distribution=distribution, version=version, name=point.name, module=point.value
        )
        if source.label not in seen:  # an editable install can be listed twice
            seen.add(source.label)
            yield source, point


def _names(source: PluginSource) -> set[str]:
    return {source.distribution, source.label}


def _selected(selection: PluginSelection, source: PluginSource) -> bool:
    names = _names(source)
    wanted = selection.only is None or bool(names & set(selection.only))
    return wanted and not names & set(selection.exclude)


def _check_known(selection: PluginSelection, sources: list[PluginSource]) -> None:
    known = set().union(*(_names(source) for source in sources)) if sources else set()
    for name in (*(selection.only or ()), *selection.exclude):
        if name not in known:
            raise UnknownNameError(unknown_name("plugin", name, known, "flowbench plugins"))


def _load(source: PluginSource, load: Callable[[], ModuleType], limit_s: float) -> Plugin:
    try:
        return _read(source, load, limit_s)
    except PLUGIN_ERRORS as exc:  # a border: one broken plugin must not take the others
        # It may have said its version before it broke, and an older one is a likely cause.
        module = sys.modules.get(source.module.partition(":")[0])
        return Plugin(
            source=source,
            api_version=getattr(module, VERSION_NAME, None),
            cause=_cause(exc),
            traceback=traceback.format_exc(),
        )


def _read(source: PluginSource, load: Callable[[], ModuleType], limit_s: float) -> Plugin:
    try:
        # The hooks are called in here as well: they are a plugin's code like its module.
        with contained(source.module) as changed, time_limit(limit_s):
            module = load()
            specs = collect_specs(module)
    except TimeLimitError as exc:
        raise PluginLoadError(
            f"its import {exc}; leave it out with --no-plugin, or set {LIMIT_ENVIRONMENT}"
        ) from exc
    version = getattr(module, VERSION_NAME)
    return Plugin(source=source, specs=specs, api_version=version, contained=tuple(changed))


def _cause(exc: BaseException) -> str:
    """Why a plugin does not load; of a name that the API does not have, which one may be meant."""
    reason = reason_of(exc)
    wanted = re.search(r"cannot import name '(\w+)' from 'flowbench\.api'", reason)
    if wanted is None:
        return reason
    hint = did_you_mean(wanted[1], importlib.import_module("flowbench.api").__all__)
    return f"flowbench.api has no {wanted[1]!r}; {hint.strip()}"


def import_limit_s() -> float:
    """Seconds that the import of one plugin may take, from ``FLOWBENCH_IMPORT_LIMIT``.

    Raises:
        SuiteError: It is not a positive number.
    """
    text = os.environ.get(LIMIT_ENVIRONMENT) or str(LIMIT_S)
    try:
        limit_s = float(text)
    except ValueError:
        limit_s = math.nan
    if not 0 < limit_s < math.inf:
        raise SuiteError(f"{LIMIT_ENVIRONMENT} is {text!r}; expected seconds, e.g. {LIMIT_S:g}")
    return limit_s


def _load_file(path: Path, limit_s: float) -> Plugin:
    if not path.is_file():
        raise PluginLoadError(f"plugin file {str(path)!r} does not exist; give a Python file")
    # A file has no version, and people edit it between runs.
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    source = PluginSource(distribution=str(path), version=digest, name=path.stem, module=path.stem)
    try:
        return _read(source, partial(_import_file, path), limit_s)
    except PLUGIN_ERRORS as exc:
        message = f"plugin file {str(path)!r} does not load: {_cause(exc)}"
        raise PluginLoadError(message) from exc


def _import_file(path: Path) -> ModuleType:
    # Under its stem, so that a spec may say "my_flow:MyFlow".
    path = path.resolve()
    present = sys.modules.get(path.stem)
    if present is not None and _is_copy(getattr(present, "__file__", None), path):
        return present
    # The file's own folder may be on the path: then what is found is the file itself.
    found = None if present is not None else importlib.util.find_spec(path.stem)
    if present is not None or (found is not None and found.origin != str(path)):
        raise PluginLoadError(f"a module {path.stem!r} exists already; rename the file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise PluginLoadError("not a Python file; give a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    # Before it runs, as Python itself does: dataclasses look their own module up.
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def _is_copy(file: str | None, path: Path) -> bool:
    """Whether a module's file is this one, or holds the same: a class kept in two folders."""
    if file is None:
        return False
    there = Path(file)
    return there == path or (there.is_file() and there.read_bytes() == path.read_bytes())


def collect_specs(module: ModuleType) -> tuple[Spec, ...]:
    """Calls the hooks of one plugin module.

    Args:
        module: The module that an entry point names.

    Returns:
        Everything that it registers.

    Raises:
        PluginLoadError: It was written for another API version, implements an unknown hook, or
            registers something that is not a spec.
    """
    version = getattr(module, VERSION_NAME, None)
    # Before its hooks are called, whose signatures are those of that version.
    if version != hooks.API_VERSION:
        raise PluginLoadError(_other_version(version))
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    manager.register(module)
    # A misspelt hook would register nothing, without a word.
    manager.check_pending()
    specs: list[Spec] = []
    for hook, kind in HOOKS.items():
        for registered in getattr(manager.hook, hook)():
            specs += [_checked(spec, kind, hook) for spec in registered]
    if not specs:
        called = ", ".join(hook.name for hook in manager.get_hookcallers(module) or ())
        raise PluginLoadError(
            f"{called} returned nothing, expected a list of specs"
            if called
            else f"implements none of {', '.join(HOOKS)} (is @hookimpl missing?)"
        )
    return tuple(specs)


def _other_version(version: object) -> str:
    given = f"declares no {VERSION_NAME}" if version is None else f"is for API {version}"
    message = f"{given}, this flowbench has API {hooks.API_VERSION}"
    if version == 1:
        message += (
            ": log_prob returns a tensor in place of a Density, initialize takes a generator, "
            "Likelihood(estimate) is noise, bound and tolerance, num_classes is in context; change "
            f"these, then set {VERSION_NAME} = 2 (docs/how-to/version-2.md)"
        )
    return message


def _checked(spec: object, kind: type[Spec], hook: str) -> Spec:
    # Hooks return lists of anything; the first use would be far from here.
    if not isinstance(spec, kind):
        raise PluginLoadError(f"{hook} returned {type(spec).__name__}, expected {kind.__name__}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", spec.name):
        raise PluginLoadError(f"{hook} registers the name {spec.name!r}; allowed are a-z 0-9 . _ -")
    return spec
