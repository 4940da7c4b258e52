"""``flowbench data``: prepare, verify and find datasets."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowbench import paths
from flowbench.cli import complete
from flowbench.cli.columns import print_facts, terminal_width, text
from flowbench.cli.options import AsJson, DataDir, NoPlugins, PluginFiles, load_plugins

if TYPE_CHECKING:
    from flowbench.api.specs import DatasetSpec, RemoteFile
    from flowbench.data.library.manifest import Manifest
    from flowbench.registry import Registry

app = typer.Typer(help="Prepare datasets, and see where they are.", no_args_is_help=True)

_MOST_NAMED = 10  # files that cannot be read
ANY_NAME = "A dataset, folder:PATH?size=64, folder-audio:PATH, or weights such as inception-weights"
Name = Annotated[str, typer.Argument(help=f"{ANY_NAME}.", autocompletion=complete.prepared)]


@app.command("prepare")
def prepare(
    name: Name,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Folder with published files that you already have \\[default: download them].",
        ),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
    data_dir: DataDir = None,
    plugin_file: PluginFiles = None,
    no_plugin: NoPlugins = None,
) -> None:
    """Download and check a dataset or a metric's weights; a dataset is converted once."""
    from flowbench.registry.build import prepare_dataset
    from flowbench.registry.weights import prepare_weights, weight_files

    registry = load_plugins(plugin_file, no_plugin)
    folder = paths.data_dir(data_dir).resolve()
    # Weights have names of their own kind, and no dataset may hide them.
    if name in weight_files(registry):
        path = prepare_weights(registry, name, folder, given=from_, offline=offline)
        _print_facts({"name": name, "file": str(path), "ready": True})
        return
    manifest = prepare_dataset(registry, name, folder, given=from_, offline=offline)
    if manifest is None:
        print(f"{name} needs no preparation")
        return
    spec = registry.dataset(name).spec
    _print_facts(_facts(spec, folder, manifest))


@app.command("verify")
def verify(
    name: Name,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    plugin_file: PluginFiles = None,
    no_plugin: NoPlugins = None,
) -> None:
    """Read a whole dataset, or a file of weights, and compare it with its hash."""
    from flowbench.data.library.download import check_file
    from flowbench.data.library.prepared import verify_prepared
    from flowbench.errors import DataMissingError
    from flowbench.registry.build import load_dataset

    registry = load_plugins(plugin_file, no_plugin)
    folder = paths.data_dir(data_dir).resolve()
    weights = _weights(registry, name, folder)
    if weights is not None:
        file, known = weights
        if not known["ready"]:
            raise DataMissingError(f"{name} are not prepared; run: {known['prepare']}")
        sha256 = check_file(file, Path(known["file"]))
        _show({**known, "sha256": sha256, "verified": True}, as_json)
        return
    spec = registry.dataset(name).spec
    if spec.convert is None:
        loaded = load_dataset(registry, name, folder)  # which checks everything
        facts: dict[str, Any] = {"name": spec.name, "sha256": loaded.sha256}
    else:
        facts = _facts(spec, folder, verify_prepared(spec, folder))
    _show({**facts, "verified": True}, as_json)


@app.command("where")
def where(
    name: Annotated[
        str | None,
        typer.Argument(
            help=f"{ANY_NAME} \\[default: the folder of all].", autocompletion=complete.prepared
        ),
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    plugin_file: PluginFiles = None,
    no_plugin: NoPlugins = None,
) -> None:
    """Show the data folder, or what is there of one dataset or file of weights."""
    from flowbench.data.library.manifest import read_manifest
    from flowbench.data.library.prepared import prepared_folder

    folder = paths.data_dir(data_dir).resolve()
    if name is None:
        _show({"data_dir": str(folder)}, as_json)
        return
    registry = load_plugins(plugin_file, no_plugin)
    weights = _weights(registry, name, folder)
    if weights is not None:
        _show(weights[1], as_json)
        return
    spec = registry.dataset(name).spec
    if spec.convert is None:
        _show({"name": spec.name, "folder": None, "ready": spec.load is not None}, as_json)
        return
    manifest = read_manifest(prepared_folder(spec, folder))
    _show(_facts(spec, folder, manifest), as_json)


def _weights(
    registry: Registry, name: str, data_dir: Path
) -> tuple[RemoteFile, dict[str, Any]] | None:
    """A file of weights and where it is; None for the name of a dataset."""
    from flowbench.api.specs import WEIGHTS_FOLDER
    from flowbench.registry.weights import weight_files

    file = weight_files(registry).get(name)
    if file is None:
        return None
    path = data_dir / WEIGHTS_FOLDER / file.name
    facts = {"name": name, "file": str(path), "ready": path.is_file()}
    if not path.is_file():
        place = shlex.quote(str(data_dir))
        facts["prepare"] = f"flowbench data prepare {name} --data-dir {place}"
    return file, facts


def _facts(spec: DatasetSpec, data_dir: Path, manifest: Manifest | None) -> dict[str, Any]:
    from flowbench.data.library.prepared import prepare_command, prepared_folder
    from flowbench.data.library.sources import downloads_folder

    downloads = downloads_folder(spec, data_dir)
    facts: dict[str, Any] = {
        "name": spec.name,
        "folder": str(prepared_folder(spec, data_dir)),
        "ready": manifest is not None,
        "downloads": str(downloads) if downloads.is_dir() else None,
        "notes": spec.notes or None,
    }
    if manifest is None:
        command = prepare_command(spec, data_dir)
        return facts | {"prepare": command, "files": [f.name for f in spec.files]}
    return facts | manifest.model_dump(
        mode="json",
        include={"event_shape", "dtype", "splits", "sha256", "sources", "unused", "prepared"},
    )


def _show(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        _print_facts(facts)


def _print_facts(facts: dict[str, Any]) -> None:
    print_facts({key: _said(key, value) for key, value in facts.items()}, terminal_width())


def _said(key: str, value: Any) -> Any:
    if key == "splits":
        lines = [_split_line(name, split) for name, split in value.items()]
        lost = [item for split in value.values() for item in split["unreadable"].items()]
        lines += [f"left out, unreadable: {name}: {why}" for name, why in lost[:_MOST_NAMED]]
        more = len(lost) - _MOST_NAMED
        return "\n".join([*lines, f"left out, unreadable: {more} more"] if more > 0 else lines)
    if key == "unused":
        return "\n".join(f"{num} {why}" for why, num in sorted(value.items()))
    if key == "sources":
        return "\n".join(map(_source_line, value))
    return text(value) if isinstance(value, bool) else value


def _split_line(name: str, split: dict[str, Any]) -> str:
    line = f"{name} {split['count']:,}"
    if split["published"] is None:
        return f"{line} (held out from train)"
    if split["published"] == split["count"]:
        return line
    removed = split["in_other_splits"]
    also = f"; {removed:,} left out because another split has them" if removed else ""
    also += f"; {len(split['unreadable']):,} unreadable" if split["unreadable"] else ""
    return f"{line} (of {split['published']:,} published{also})"


def _source_line(source: dict[str, Any]) -> str:
    if source["sha256"] is None:
        return f"{source['name']} is a folder: no published hash to compare with"
    checked = "as published" if source["published"] else "no published hash to compare with"
    return f"{source['name']} {source['sha256'][:16]}... {checked}"
