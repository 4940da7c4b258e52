"""Flags that several commands share, and what those of plugins mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flowbench.registry import PluginSelection, Registry

Results = Annotated[
    Path | None,
    typer.Option("--results", help="Results folder \\[default: results, or FLOWBENCH_RESULTS]."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Folder of prepared datasets \\[default: FLOWBENCH_DATA or the cache]."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PluginFiles = Annotated[
    list[Path] | None,
    typer.Option("--plugin-file", help="Load a plugin from a Python file; can be repeated."),
]
NoPlugins = Annotated[
    list[str] | None,
    typer.Option(
        "--no-plugin", help="Leave out a distribution or distribution:name; can be repeated."
    ),
]


def selected_plugins(files: PluginFiles, excluded: NoPlugins) -> PluginSelection:
    """The plugins that the environment and two flags select; nothing is imported yet.

    Args:
        files: What ``--plugin-file`` was given.
        excluded: What ``--no-plugin`` was given.
    """
    from flowbench.registry import PluginSelection

    # Flags add to the environment: what a site leaves out stays out.
    return PluginSelection.from_environment(exclude=excluded or (), files=files or ())


def load_plugins(files: PluginFiles, excluded: NoPlugins) -> Registry:
    """The registry of those plugins.

    Args:
        files: What ``--plugin-file`` was given.
        excluded: What ``--no-plugin`` was given.
    """
    from flowbench.registry import load_registry

    return load_registry(selected_plugins(files, excluded))
