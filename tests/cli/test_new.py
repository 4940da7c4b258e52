"""``flowbench new``: what it writes installs, is clean, and passes its own tests."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from flowbench.cli.new import new
from flowbench.errors import FlowbenchError
from tests.environments import INSTALL, make_environment, run_in

KINDS = ("model", "dataset", "metric")
PLUGIN = "flowbench.contract.pytest_plugin"


def _new(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(new)
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x", "a-name-of-twentyfour-let"])
def test_what_is_written_is_clean(tmp_path: Path, kind: str, name: str) -> None:
    assert _new(kind, name, "--dir", str(tmp_path)).exit_code == 0
    folder = tmp_path / f"flowbench-{name}"
    python = Path(sys.executable)
    run_in(folder, python, "ruff", "format", "--check", "--no-cache", ".")
    run_in(folder, python, "ruff", "check", "--no-cache", ".")
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    package = f"src/flowbench_{name.replace('-', '_')}"
    assert {"README.md", "pyproject.toml", ".github/workflows/ci.yml"} <= written
    assert {f"{package}/py.typed", f"{package}/plugin.py", "tests/test_contract.py"} <= written


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_environment(tmp_path_factory.mktemp("new") / "env")


@pytest.mark.slow
# A model is made, installed and tested by the commands of the guide: tests/contract/test_guide.py.
@pytest.mark.parametrize("kind", ["dataset", "metric"])
def test_what_is_written_installs_and_passes_its_own_tests(
    tmp_path: Path, python: Path, kind: str
) -> None:
    _new(kind, f"fresh-{kind}", "--dir", str(tmp_path))
    folder = tmp_path / f"flowbench-fresh-{kind}"
    run_in(folder, python, *INSTALL, "-e", ".[dev]")
    # One cache for all: most of what there is to check is flowbench and what it imports.
    run_in(folder, python, "mypy", "--cache-dir", str(python.parents[1] / "mypy"))
    # An installation without the entry point (it was made before there was one) names the plugin.
    known = any(point.value == PLUGIN for point in metadata.entry_points(group="pytest11"))
    named = () if known else ("-p", PLUGIN)
    run_in(folder, python, "pytest", "-q", "-p", "no:cacheprovider", *named)
    listed = run_in(folder, python, "flowbench.cli.app", "list", f"{kind}s")
    assert ("fresh_metric" if kind == "metric" else f"fresh-{kind}") in listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("flow", "x"), "expected one of model, dataset, metric"),
        (("model", "../x"), "cannot name a plugin"),
        (("model", "My_Flow"), "cannot name a plugin"),
        (("model", "x--y"), "cannot name a plugin"),
        (("model", "class"), "cannot name a plugin"),
        (("model", "a" * 25), "at most 24 characters"),
    ],
)
def test_bad_names_are_refused(tmp_path: Path, arguments: tuple[str, str], message: str) -> None:
    done = _new(*arguments, "--dir", str(tmp_path))
    assert isinstance(done.exception, FlowbenchError)
    assert message in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    _new("model", "mine", "--dir", str(tmp_path))
    done = _new("metric", "mine", "--dir", str(tmp_path))
    assert isinstance(done.exception, FlowbenchError)
    assert "exists already" in str(done.exception)
