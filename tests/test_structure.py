"""No import cycle, folders included: whoever reads a folder needs nothing that reads it back."""

from __future__ import annotations

import ast
import graphlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "flowbench": ROOT,
    "flowbench_models": ROOT / "plugins",
    "flowbench_datasets": ROOT / "plugins",
    "flowbench_metrics": ROOT / "plugins",
}


def _modules(package: str, root: Path) -> dict[str, Path]:
    """The files of a package by the name of their module."""
    files = sorted((root / package).rglob("*.py"))
    return {".".join(p.relative_to(root).with_suffix("").parts): p for p in files}


def _imports(path: Path) -> Iterator[str]:
    """Every name that a file imports, in the type checker's blocks and in functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _folder(module: str, package: str) -> str:
    """The folder of a module; at the top, where every part meets, the module itself."""
    folder = module.rpartition(".")[0]
    return module if folder == package else folder


def _imported_folders(package: str, root: Path) -> dict[str, set[str]]:
    """Each folder of a package with those that its files import from."""
    modules = _modules(package, root)
    graph: dict[str, set[str]] = defaultdict(set)
    for module, path in modules.items():
        here = _folder(module, package)
        for name in _imports(path):
            candidates = (name, f"{name}.__init__", name.rpartition(".")[0])
            found = next((c for c in candidates if c in modules), None)
            found = found or f"{candidates[2]}.__init__"
            if found in modules and _folder(found, package) != here:
                graph[here].add(_folder(found, package))
    return graph


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_imports_in_a_circle(package: str) -> None:
    graph = _imported_folders(package, PACKAGES[package])
    graphlib.TopologicalSorter(graph).prepare()


def test_a_circle_between_a_folder_and_one_in_it_is_seen(tmp_path: Path) -> None:
    inner = tmp_path / "pkg" / "part" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent, inner.parent.parent):
        (folder / "__init__.py").touch()
    (inner / "leaf.py").write_text("from pkg.part import base\n")
    (inner.parent / "base.py").touch()
    (inner.parent / "use.py").write_text("def f():\n    from pkg.part.inner.leaf import x\n")
    graph = _imported_folders("pkg", tmp_path)
    assert graph == {"pkg.part": {"pkg.part.inner"}, "pkg.part.inner": {"pkg.part"}}
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(graph).prepare()
