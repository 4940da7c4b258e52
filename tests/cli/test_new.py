"""``flowbench new``: what it writes installs, is clean, and passes its own tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from flowbench.cli.new import new
from flowbench.errors import FlowbenchError
from tests.environments import PIP, ROOT, make_environment, run_in

KINDS = ("model", "dataset", "metric")


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


def _workflow(folder: Path) -> dict[str, Any]:
    content = yaml.safe_load((folder / ".github" / "workflows" / "ci.yml").read_text())
    assert isinstance(content, dict)
    return content


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment, and in its folder a wheel of flowbench as a repository would give it."""
    folder = tmp_path_factory.mktemp("new")
    python = make_environment(folder / "env", "pip", "mypy", "pytest", "ruff")
    run_in(folder, python, "pip", "wheel", "-q", "--no-build-isolation", "--no-deps", str(ROOT))
    return folder


@pytest.mark.slow
@pytest.mark.long
# A model is made, installed and tested by the commands of the guide: tests/contract/test_guide.py.
@pytest.mark.parametrize("kind", ["dataset", "metric"])
def test_the_workflow_that_is_written_passes(tmp_path: Path, machine: Path, kind: str) -> None:
    """Its steps as they stand, in an environment that has no flowbench of its own."""
    (wheel,) = machine.glob("*.whl")
    done = _new(kind, f"fresh-{kind}", "--dir", str(tmp_path), "--from", str(wheel))
    assert f"its CI installs flowbench by: pip install {wheel}" in done.stdout
    folder = tmp_path / f"flowbench-fresh-{kind}"
    workflow = _workflow(folder)
    (job,) = workflow["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert [line.split()[0] for line in commands] == [
        "pip",
        "pip",
        "ruff",
        "ruff",
        "mypy",
        "pytest",
    ]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("FLOWBENCH_", "PYTHONPATH"))}
    env |= {"PATH": f"{machine / 'env' / 'bin'}:{env['PATH']}", "PIP_QUIET": "1", **PIP}
    # One cache for all: most of what there is to check is flowbench and what it imports.
    env |= {"MYPY_CACHE_DIR": str(machine / "mypy"), **workflow["env"]}
    for command in commands:
        ran = subprocess.run(
            ["bash", "-ec", command], cwd=folder, env=env, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
    listed = run_in(
        folder, machine / "env" / "bin" / "python", "flowbench.cli.app", "list", f"{kind}s"
    )
    assert ("fresh_metric" if kind == "metric" else f"fresh-{kind}") in listed


def test_its_ci_installs_flowbench_from_where_this_one_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "git+https://host.example/owner/flowbench@0123abc"
    monkeypatch.setattr("flowbench.contract.origin.installed_from", lambda: address)
    done = _new("model", "x", "--dir", str(tmp_path))
    assert f"its CI installs flowbench by: pip install {address}\n" in done.stdout
    assert _workflow(tmp_path / "flowbench-x")["env"] == {"FLOWBENCH": address}
    assert f'pip install "{address}"\n' in (tmp_path / "flowbench-x" / "README.md").read_text()


def test_it_says_when_its_ci_may_find_no_flowbench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowbench.contract.origin.installed_from", lambda: None)
    done = _new("model", "x", "--dir", str(tmp_path))
    assert done.exit_code == 0
    assert done.stderr.count("\n") == 1
    assert "name another place by --from, e.g. git+https://" in done.stderr
    assert _workflow(tmp_path / "flowbench-x")["env"] == {"FLOWBENCH": "flowbench"}


@pytest.mark.parametrize("source", ["-r x.txt", "--upgrade", 'a" b', "a b", "$(x)", "a\nb", "a`b`"])
def test_a_place_that_is_none_is_refused(tmp_path: Path, source: str) -> None:
    done = _new("model", "x", "--dir", str(tmp_path), f"--from={source}")
    assert isinstance(done.exception, FlowbenchError)
    assert "expected a requirement of pip" in str(done.exception)
    assert not list(tmp_path.iterdir())


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
