"""``flowbench list``, ``show`` and ``plugins``: what there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowbench import paths
from flowbench.cli import complete
from flowbench.cli.columns import print_columns, print_facts, terminal_width, wrapped
from flowbench.cli.options import (
    AsJson,
    DataDir,
    NoPlugins,
    PluginFiles,
    load_plugins,
    selected_plugins,
)

if TYPE_CHECKING:
    from flowbench.registry import Registry
    from flowbench.registry.entry_points import Plugin

KINDS = ("models", "datasets", "metrics", "suites", "executors", "trackers")
Described = list[dict[str, Any]]
_CODE = {"load", "convert", "render", "compute", "manifold", "invariances", "closed_forms"}


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="models, datasets, metrics, suites, executors or trackers \\[default: all].",
            autocompletion=complete.one_of(*KINDS),
        ),
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    plugin_file: PluginFiles = None,
    no_plugin: NoPlugins = None,
) -> None:
    """List models, datasets, metrics, suites, executors and trackers."""
    from flowbench.errors import SuiteError

    if kind is not None and kind not in KINDS:
        raise SuiteError(f"cannot list {kind!r}; expected one of {', '.join(KINDS)}")
    registry = load_plugins(plugin_file, no_plugin)
    folder = paths.data_dir(data_dir)
    found = {name: _describe(registry, name, folder) for name in KINDS if kind in (None, name)}
    if as_json:
        print(json.dumps(found[kind] if kind else found, indent=1))
        return
    for name, rows in found.items():
        _print_rows(name, rows, titled=kind is None)


def _describe(registry: Registry, kind: str, data_dir: Path) -> Described:
    if kind == "models":
        return [
            {
                "name": name,
                "family": entry.spec.family,
                "data": ", ".join(sorted(entry.spec.modalities)),
                "plugin": entry.source.distribution,
                "summary": entry.spec.summary,
            }
            for name, entry in registry.models.items()
        ]
    if kind == "datasets":
        return _describe_datasets(registry, data_dir)
    if kind == "metrics":
        return [
            {
                "name": name,
                "unit": entry.spec.unit,
                "better": entry.spec.direction,
                "default": entry.spec.default,
                "plugin": entry.source.distribution,
                "summary": entry.spec.summary,
            }
            for name, entry in registry.metrics.items()
        ]
    if kind in ("executors", "trackers"):
        return [
            {
                "name": name,
                "plugin": entry.source.distribution,
                "summary": entry.spec.summary,
            }
            for name, entry in getattr(registry, kind).items()
        ]
    return _describe_suites()


def _describe_datasets(registry: Registry, data_dir: Path) -> Described:
    from flowbench.data.library.prepared import is_ready
    from flowbench.data.library.transfer import human_bytes

    return [
        {
            "name": name,
            "ready": is_ready(entry.spec, data_dir),
            "modality": entry.spec.modality,
            "shape": "x".join(map(str, entry.spec.event_shape)),
            "train": entry.spec.num_train,
            "test": entry.spec.num_test,
            "levels": entry.spec.levels,
            "size": human_bytes(entry.spec.prepared_bytes) if entry.spec.convert else None,
            "size_bytes": entry.spec.prepared_bytes if entry.spec.convert else None,
            "licence": entry.spec.licence,
            "plugin": entry.source.distribution,
            "summary": entry.spec.summary,
        }
        for name, entry in registry.datasets.items()
    ]


def _describe_suites() -> Described:
    from flowbench.suite.find import models_of, read_suite, shipped_suites

    suites = {name: read_suite(path) for name, path in shipped_suites().items()}
    return [
        {
            "name": name,
            "models": ", ".join(models_of(suite)),
            "published": (suite.get("board") or {}).get("published"),
            "title": suite.get("title", ""),
        }
        for name, suite in suites.items()
    ]


def _print_rows(title: str, rows: Described, *, titled: bool) -> None:
    if titled:
        print(title)
    one_plugin = len({row.get("plugin") for row in rows}) == 1
    # Bytes and families are for --json; the plugin has a column only where it tells rows apart.
    hidden = {"size_bytes", "family", *(["plugin"] if one_plugin else [])}
    columns = [key for key in (rows[0] if rows else {}) if key not in hidden]
    print_columns(rows, columns, terminal_width())
    if titled:
        print()


def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A model, model:preset, dataset or metric.", autocompletion=complete.anything
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Dataset to configure a model for \\[default: the first that it can run on].",
            autocompletion=complete.datasets,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a value: width=64; can be repeated.")
    ] = None,
    as_json: AsJson = False,
    plugin_file: PluginFiles = None,
    no_plugin: NoPlugins = None,
) -> None:
    """Show a model's configuration and parameter count, a dataset or a metric."""
    from flowbench.data.library.folder import is_folder
    from flowbench.suite.settings import parse_settings

    registry = load_plugins(plugin_file, no_plugin)
    bare = name.partition(":")[0]
    known = name in registry.datasets or name in registry.metrics or is_folder(name)
    # An unknown name is looked up as a model's, whose error names the nearest one.
    if bare in registry.models or not known:
        from flowbench.runner.describe import describe_model

        prefix = f"{bare}."
        settings = parse_settings(set_ or [], "--set")
        overrides = {key.removeprefix(prefix): value for key, value in settings.items()}
        facts = describe_model(registry, name, dataset, overrides)
    else:
        facts = _spec_facts(registry, name)
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        print_facts(_for_people(facts), terminal_width())


def _spec_facts(registry: Registry, name: str) -> dict[str, Any]:
    from dataclasses import asdict

    from flowbench.data.library.folder import is_folder

    is_dataset = name in registry.datasets or is_folder(name)
    entry = registry.dataset(name) if is_dataset else registry.metric(name)
    facts = asdict(entry.spec)
    return {k: sorted(v) if isinstance(v, frozenset) else v for k, v in facts.items()}


def _for_people(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts without what only programs read: BibTeX, references to code, what a spec leaves out."""
    said = {key: value for key, value in facts.items() if value not in (None, "", {}, [], ())}
    if isinstance(said.get("paper"), dict):
        said["paper"] = {k: v for k, v in said["paper"].items() if k != "bibtex" and v}
    return {key: value for key, value in said.items() if key not in _CODE}


def plugins(
    as_json: AsJson = False, plugin_file: PluginFiles = None, no_plugin: NoPlugins = None
) -> None:
    """Show installed plugins, and why a broken one is quarantined."""
    from flowbench.registry import entry_points
    from flowbench.registry.registry import name_clashes

    found = entry_points.load_plugins(selected_plugins(plugin_file, no_plugin))
    clashes = name_clashes(found)
    rows = [_describe_plugin(plugin, clashes) for plugin in found]
    if as_json:
        print(json.dumps(rows, indent=1, default=str))
        return
    width = terminal_width()
    for row in rows:
        api = "" if row["api_version"] is None else f"  API {row['api_version']}"
        print(f"{row['name']} {row['version']}{api}  {row['status']}")
        for line in filter(None, (row["cause"], row["registers"], row["contained"])):
            print(*(f"  {part}" for part in wrapped(line, width and width - 2)), sep="\n")


def _contained(plugin: Plugin) -> str | None:
    if not plugin.contained:
        return None
    return f"its import changed {'; '.join(plugin.contained)} (put back)"


def _describe_plugin(plugin: Plugin, clashes: dict[str, str]) -> dict[str, Any]:
    source = plugin.source
    status = "quarantined" if plugin.cause else "clash" if source.label in clashes else "loaded"
    return {
        "name": source.label,
        "version": source.version,
        "module": source.module,
        "api_version": plugin.api_version,
        "status": status,
        "registers": ", ".join(spec.name for spec in plugin.specs),
        "cause": plugin.cause or clashes.get(source.label),
        "traceback": plugin.traceback,
        "contained": _contained(plugin),
    }
