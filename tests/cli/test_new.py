"""``flowbench new``: what it writes installs, is clean, and passes its own tests."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from flowbench.cli.new import new
from flowbench.errors import FlowbenchError

KINDS = ("model", "dataset", "metric")
PLUGIN = "flowbench.contract.pytest_plugin"


def _new(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(new)
    return CliRunner().invoke(app, list(arguments))


def _run(folder: Path, *command: str, **environment: str) -> str:
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x", "a-name-of-twentyfour-let"])
def test_what_is_written_is_clean(tmp_path: Path, kind: str, name: str) -> None:
    assert _new(kind, name, "--dir", str(tmp_path)).exit_code == 0
    folder = tmp_path / f"flowbench-{name}"
    _run(folder, "ruff", "format", "--check", "--no-cache", ".")
    _run(folder, "ruff", "check", "--no-cache", ".")
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    package = f"src/flowbench_{name.replace('-', '_')}"
    assert {"README.md", "pyproject.toml", ".github/workflows/ci.yml"} <= written
    assert {f"{package}/py.typed", f"{package}/plugin.py", "tests/test_contract.py"} <= written


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_installs_and_passes_its_own_tests(tmp_path: Path, kind: str) -> None:
    _new(kind, "fresh-one", "--dir", str(tmp_path))
    folder, site = tmp_path / "flowbench-fresh-one", tmp_path / "site"
    install = ("pip", "install", "--quiet", "--no-deps", "--no-build-isolation")
    _run(folder, *install, "--target", str(site), ".")
    _run(folder, "mypy")
    # An installation without the entry point (it was made before there was one) names the plugin.
    known = any(point.value == PLUGIN for point in metadata.entry_points(group="pytest11"))
    named = () if known else ("-p", PLUGIN)
    _run(folder, "pytest", "-q", "-p", "no:cacheprovider", *named, PYTHONPATH=str(site))
    listed = _run(folder, "flowbench.cli.app", "list", f"{kind}s", PYTHONPATH=str(site))
    assert ("fresh_one" if kind == "metric" else "fresh-one") in listed


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
