"""Flags that several commands share, and what those of plugins mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowbench.cli import complete

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
OnlyModel = Annotated[
    str | None,
    typer.Option(
        help="Only this model, or model:preset \\[default: all].", autocompletion=complete.models
    ),
]
OnlyDataset = Annotated[
    str | None,
    typer.Option(help="Only this dataset \\[default: all].", autocompletion=complete.datasets),
]

DeviceKind = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda or mps.",
        autocompletion=complete.one_of("auto", "cpu", "cuda", "mps"),
    ),
]
NumJobs = Annotated[
    int | None,
    typer.Option(
        help="Jobs to run at a time \\[default: one per GPU, two on a CPU].", min=1, max=1024
    ),
]
RERUN = ("failed", "stale", "contended", "all")
RerunWhat = Annotated[
    str | None,
    typer.Option(
        help="Run again what failed, what is stale, what is contended, or all \\[default: only "
        "what is not done].",
        autocompletion=complete.one_of(*RERUN),
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
