"""Where results and data are, unless a flag says otherwise."""

from __future__ import annotations

import os
from pathlib import Path

WEIGHTS = "FLOWBENCH_WEIGHTS"
"""The variable that names weights for metrics: a folder or a file."""


def results_dir(flag: Path | None = None) -> Path:
    """The results folder.

    Args:
        flag: What ``--results`` was given.

    Returns:
        The flag, else FLOWBENCH_RESULTS, else ``results`` in the working directory.
    """
    return flag or Path(os.environ.get("FLOWBENCH_RESULTS") or "results")


def data_dir(flag: Path | None = None) -> Path:
    """The folder of prepared datasets.

    Args:
        flag: What ``--data-dir`` was given.

    Returns:
        The flag, else FLOWBENCH_DATA, else the user's cache folder.
    """
    return flag or Path(os.environ.get("FLOWBENCH_DATA") or cache_dir() / "data")


def cache_dir() -> Path:
    """The folder of what can be made anew, in that of the user's caches."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "flowbench"
