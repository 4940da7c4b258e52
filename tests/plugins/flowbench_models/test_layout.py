"""A model lives in one room: whoever reads one opens few files."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

PACKAGE = "flowbench_models"
MOST_FILES = 8
MODELS = (
    "augmented.denseflow.model",
    "autoregressive.tarflow.model",
    "coupling.glow.model",
)


def _file(module: str) -> Path | None:
    """The file of a module; None for names that are no module."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # the parent is a module, not a package
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


def _imported(path: Path) -> set[str]:
    """Modules of the package that a file imports, those inside functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in names if name.startswith(f"{PACKAGE}.")}


def _opened(module: str) -> set[Path]:
    """Files that a reader of a module opens: all that it imports, directly or not."""
    opened: set[Path] = set()
    waiting = [module]
    while waiting:
        path = _file(waiting.pop())
        if path is not None and path not in opened:
            opened.add(path)
            waiting += _imported(path)
    return {path for path in opened if path.name != "__init__.py"}


@pytest.mark.parametrize("model", MODELS)
def test_reading_a_model_opens_few_files(model: str) -> None:
    opened = _opened(f"{PACKAGE}.{model}")
    assert len(opened) <= MOST_FILES, sorted(str(path) for path in opened)


@pytest.mark.parametrize("path", sorted(Path(str(_file(PACKAGE))).parent.rglob("__init__.py")))
def test_packages_import_nothing(path: Path) -> None:
    # A package that re-exported would hide from a reader, and from the test above, where a name is.
    assert not _imported(path)
