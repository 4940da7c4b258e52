"""Finds data files inside the scikit-learn package without importing it, which takes seconds."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from flowbench.api import DataError


def sklearn_file(path: str) -> Path:
    """Locates a data file of scikit-learn.

    Args:
        path: Its path below ``sklearn/datasets``.

    Raises:
        DataError: scikit-learn is not installed, or this version does not ship the file.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"{path} ships with scikit-learn, which is not installed; install it")
    file = Path(spec.submodule_search_locations[0], "datasets", path)
    if not file.is_file():
        raise DataError(
            f"{file} does not exist, expected it in scikit-learn; install scikit-learn 1.5 or later"
        )
    return file
