"""Each import is of a dependency, or of an extra and then a missing one says what to install."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("flowbench", "flowbench_models", "flowbench_datasets", "flowbench_metrics")
FILES = [
    path
    for folder in (ROOT / "flowbench", *(ROOT / "plugins" / name for name in OURS[1:]))
    for path in sorted(folder.rglob("*.py"))
]
DEVELOPERS = {"dev", "docs"}  # extras for those who have a clone
TESTERS = {"pytest"}  # flowbench.contract.pytest_plugin is loaded by pytest alone


PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]


def _name(requirement: str) -> str:
    return re.split(r"[\s>=<;\[]", requirement)[0].lower().replace("_", "-")


@functools.cache
def _installed() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _distributions(module: str) -> set[str]:
    found = _installed().get(module, [module])
    return {name.lower().replace("_", "-") for name in found}


def _imports(tree: ast.AST) -> set[str]:
    """Top-level names of the other packages that some code imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    tops = {name.partition(".")[0] for name in names}
    return tops - set(sys.stdlib_module_names) - set(OURS)


def _extra_of(module: str) -> str | None:
    for extra in sorted(set(EXTRAS) - DEVELOPERS):
        if _distributions(module) & {_name(requirement) for requirement in EXTRAS[extra]}:
            return extra
    return None


def _guards(tree: ast.AST, module: str) -> list[str]:
    """The handlers of failed imports of a module, as text."""
    return [
        " ".join(
            part.value
            for handler in node.handlers
            for part in ast.walk(handler)
            if isinstance(part, ast.Constant) and isinstance(part.value, str)
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and module in _imports(ast.Module(node.body, []))
    ]


@pytest.mark.slow
def test_every_import_is_declared_or_says_what_to_install() -> None:
    required = {_name(requirement) for requirement in PROJECT["dependencies"]} | TESTERS
    extras_seen = set()
    for path in FILES:
        tree = ast.parse(path.read_text())
        for module in _imports(tree):
            if _distributions(module) & required:
                continue
            extra = _extra_of(module)
            assert extra, f"{path.name} imports {module}, which pyproject does not declare"
            extras_seen.add(extra)
            wanted = re.compile(rf"pip install +'flowbench\[{extra}\]'")
            guards = _guards(tree, module)
            assert guards, f"{path.name} imports {module}, which may be missing, unguarded"
            assert all(wanted.search(text) for text in guards), (path.name, guards)
    assert extras_seen == set(EXTRAS) - DEVELOPERS


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_the_readme_lists_every_extra(extra: str) -> None:
    assert re.search(rf"^\| `{extra}` +\|", (ROOT / "README.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("required", [PROJECT["dependencies"], *EXTRAS.values()])
def test_what_is_installed_has_a_pinned_version(required: list[str]) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {_name(line) for line in lines if "==" in line}
    assert {_name(line) for line in required} <= pinned
