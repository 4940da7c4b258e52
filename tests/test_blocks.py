"""Every block of the docs is run by a test, or at least says what flowbench would take."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import flowbench
from flowbench import api
from flowbench.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (
        *sorted((ROOT / "docs").rglob("*.md")),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
    )
}
BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
# Pages whose blocks of a kind are run, each by the test that does it.
RUN = {
    ("README.md", "sh"): "test_readme.py",
    ("CONTRIBUTING.md", "python"): "test_docs.py",
    ("docs/tutorial/ten-minutes.md", "sh"): "test_tutorial.py",
    ("docs/tutorial/ten-minutes.md", "python"): "test_tutorial.py",
    ("docs/how-to/plugin.md", "sh"): "contract/test_guide.py",
    ("docs/how-to/plugin.md", "python"): "contract/test_guide.py",
    ("docs/how-to/my-dataset.md", "sh"): "contract/test_guide.py",
    ("docs/how-to/my-dataset.md", "python"): "contract/test_guide.py",
    ("docs/how-to/my-metric.md", "sh"): "contract/test_guide.py",
    ("docs/how-to/my-metric.md", "python"): "contract/test_guide.py",
    ("docs/how-to/my-flow.md", "python"): "test_pages.py",
    ("docs/how-to/papers-table.md", "sh"): "test_pages.py",
    ("docs/how-to/papers-table.md", "toml"): "test_pages.py",
    ("docs/reference/suites.md", "toml"): "test_pages.py",
    ("docs/how-to/claims.md", "toml"): "suite/test_claims.py",
    ("docs/concepts/bits.md", "python"): "test_pages.py",
    ("docs/how-to/python.md", "python"): "test_pages.py",
    ("docs/concepts/results.md", "python"): "test_pages.py",
    ("README.md", "python"): "test_pages.py",
    ("docs/how-to/my-cluster.md", "python"): "test_pages.py",
    ("docs/reference/contract.md", "python"): "test_pages.py",
}
# Commands that need a container, a cluster or an index; of these only flowbench's own are read.
ELSEWHERE = {"docs/how-to/docker.md", "docs/how-to/my-cluster.md"}


def _blocks() -> Iterator[tuple[str, str, str]]:
    for page, text in PAGES.items():
        for kind, block in BLOCK.findall(text):
            yield page, kind, block


def test_every_block_says_what_it_is() -> None:
    assert {kind for _, kind, _ in _blocks()} <= {"sh", "python", "toml", "text", "console", ""}
    assert not [page for page, kind, _ in _blocks() if not kind and page.startswith("docs/")]


def test_every_block_of_commands_or_code_is_run_where_a_laptop_can() -> None:
    found = {(page, kind) for page, kind, _ in _blocks() if kind in ("sh", "python")}
    assert found - set(RUN) <= {(page, "sh") for page in ELSEWHERE}
    for (page, _), test in RUN.items():
        assert Path(page).stem in (ROOT / "tests" / test).read_text(), page


COMMANDS = [
    pytest.param(page, line, id=f"{Path(page).stem}: {line[:60]}")
    for page, kind, block in _blocks()
    if kind in ("sh", "text")
    for line in block.replace("\\\n", " ").splitlines()
    if re.match(r"(docker run .* )?flowbench [a-z]", line) and not re.search(r"[][|]|\.\.\.", line)
]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_command_that_is_shown_is_one(page: str, line: str) -> None:
    for part in line.split("#")[0].split("&&"):
        words = shlex.split(re.split(r"\b(?=flowbench [a-z])", part)[-1])
        if words[0] == "flowbench" and words[1] != "make":  # make in an image of that name
            _parse(typer.main.get_command(app), words)


def _parse(command: Any, words: list[str]) -> None:
    """Reads a command line as it would be read, and does nothing."""
    name, rest = words[0], words[1:]
    if inner := getattr(command, "commands", None):
        assert rest[0] in inner, f"flowbench has no command {rest[0]}"
        _parse(inner[rest[0]], rest)
        return
    try:
        command.make_context(name, rest)
    except Exception as exc:
        if "does not exist" not in str(getattr(exc, "message", exc)):  # a file of the reader's
            pytest.fail(f"flowbench {name}: {getattr(exc, 'message', exc)}")


@pytest.mark.parametrize(
    "line", ["run --model glow", "rum --models glow", "run --models glow --seeds", "new model"]
)
def test_a_command_that_is_none_would_be_seen(line: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        _parse(typer.main.get_command(app), ["flowbench", *line.split()])


def test_every_extra_that_is_named_is_one() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {n for text in PAGES.values() for n in re.findall(r"'flowbench\[(\w+)\]'", text)}
    assert named
    assert named <= set(project["optional-dependencies"])


CODE = [
    pytest.param(page, block, id=f"{Path(page).stem}-{number}")
    for number, (page, kind, block) in enumerate(_blocks())
    if kind == "python" and ">>>" not in block
]


@pytest.mark.parametrize(("page", "block"), CODE)
def test_every_name_that_code_takes_is_there(page: str, block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module == "flowbench.api":
            assert {alias.name for alias in node.names} <= set(api.__all__)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "flowbench":
            assert node.attr in {*flowbench.__all__, "api"}
