"""Flags that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Results = Annotated[
    Path | None,
    typer.Option("--results", help="Results folder [default: results, or FLOWBENCH_RESULTS]."),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Prepared datasets [default: FLOWBENCH_DATA or the cache]."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PluginFiles = Annotated[
    list[Path] | None,
    typer.Option("--plugin-file", help="Load a plugin from a Python file; repeatable."),
]
NoPlugins = Annotated[
    list[str] | None,
    typer.Option("--no-plugin", help="Leave out a distribution or distribution:name; repeatable."),
]
