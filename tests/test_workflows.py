"""The workflows, templates and hooks call what there is, and jobs run all that `.ci/run` does."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
BOARD = ROOT / "docs" / "how-to" / "living-board" / "board.yml"  # for repositories of public boards
WORKFLOWS = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), BOARD]
FORMS = sorted(set((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")))
SHELL = [ROOT / ".ci" / "run"]


def _read(path: Path) -> dict[Any, Any]:
    content = yaml.safe_load(path.read_text())
    assert isinstance(content, dict)
    return content


def _jobs() -> list[Any]:
    return [
        pytest.param(job, id=f"{path.stem}-{name}")
        for path in WORKFLOWS
        for name, job in _read(path)["jobs"].items()
    ]


def _targets() -> set[str]:
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("job", _jobs())
def test_every_target_and_script_that_a_job_calls_exists(job: dict[str, Any]) -> None:
    text = "\n".join(_commands(job))
    called = set(re.findall(r"\bmake ([\w-]+)", text))
    called |= set(re.findall(r"\bbash \.ci/run ([\w-]+)", text))
    scripts = set(re.findall(r"\b(?:bash|python3?) ([\w./-]+)", text))
    assert called <= _targets()
    assert not [script for script in scripts if not (ROOT / script).is_file()]


@pytest.mark.parametrize("job", _jobs())
def test_every_job_ends_and_names_the_version_of_its_actions(job: dict[str, Any]) -> None:
    assert job["timeout-minutes"] <= 90
    uses = [step["uses"] for step in job["steps"] if "uses" in step]
    assert not [
        action for action in uses if not re.fullmatch(r"[\w./-]+@(v\d+|release/v\d+)", action)
    ]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_write_nothing_unless_a_job_says_so(path: Path) -> None:
    workflow = _read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert True in workflow, "no events"  # YAML 1.1 reads the key `on` as true
    granted = {p for job in workflow["jobs"].values() for p in job.get("permissions", {})}
    # Outcomes are committed by the workflow of a public board: by no job that runs bundles.
    assert granted <= {"id-token", "pages"} | ({"contents"} if path == BOARD else set())
    assert "secrets." not in path.read_text()


def _script(step: str) -> str:
    steps = _read(BOARD)["jobs"]["verify"]["steps"]
    (script,) = (one["run"] for one in steps if one.get("name") == step)
    assert isinstance(script, str)
    return script


def _bash(script: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**os.environ, **env}
    )


def test_a_public_board_runs_no_stranger_with_rights() -> None:
    workflow = _read(BOARD)
    assert set(workflow[True]) == {"pull_request", "push", "workflow_dispatch"}
    jobs = workflow["jobs"]
    assert "permissions" not in jobs["verify"]
    assert not any("verify" in command for command in _commands(jobs["publish"]))
    trusting = [s for s in jobs["verify"]["steps"] if "--trust-code" in s.get("run", "")]
    assert [s["if"] for s in trusting] == ["github.event_name == 'workflow_dispatch'"]
    # What somebody types or names reaches a shell as a variable alone.
    assert not any("${{" in command for job in jobs.values() for command in _commands(job))


def test_a_public_board_verifies_what_has_no_outcome(tmp_path: Path) -> None:
    for name in ("known", "new", "false"):
        (tmp_path / "bundles" / name).mkdir(parents=True)
        (tmp_path / "bundles" / name / "bundle.json").write_text(name)
    (tmp_path / "verified").mkdir()
    known = hashlib.sha256(b"known").hexdigest()[:12]
    (tmp_path / "verified" / f"lab-{known}.json").write_text("{}")
    tool = tmp_path / "bin" / "flowbench"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\necho "$@" >> calls\ncase "$3" in *false*) exit 1;; esac\n')
    tool.chmod(0o755)
    path = f"{tool.parent}:{os.environ['PATH']}"
    done = _bash(_script("Verify what has no outcome yet"), tmp_path, PATH=path)
    assert done.returncode == 1  # and the others were looked at all the same
    calls = sorted((tmp_path / "calls").read_text().splitlines())
    assert calls == [
        "results verify bundles/false/ --record outcomes",
        "results verify bundles/new/ --record outcomes",
    ]


@pytest.mark.parametrize(("file", "status"), [("bundles/x/a", 0), ("verified/x.json", 1)])
def test_a_pull_request_touches_bundles_alone(tmp_path: Path, file: str, status: int) -> None:
    as_who = "-c user.name=x -c user.email=x@example.org"
    path = tmp_path / file
    _bash(f"git init -q -b main . && git {as_who} commit -q --allow-empty -m 0", tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text("")
    _bash(f"git checkout -q -b theirs && git add . && git {as_who} commit -q -m 1", tmp_path)
    done = _bash(_script("A pull request touches bundles alone"), tmp_path, BASE="main")
    assert done.returncode == status, done.stdout + done.stderr


def test_the_parts_of_ci_are_all_of_it() -> None:
    """What `make test` does in one run, the jobs do in parts, and the long tests besides."""
    recipes = dict(
        re.findall(r"^([\w-]+):.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    )
    anywhere = "$(ANYWHERE)"
    assert f'pytest -m "not long and {anywhere}"' in recipes["test"]
    assert f'pytest -m "not slow and {anywhere}"' in recipes["test-fast"]
    assert f'pytest -m "slow and not long and {anywhere}"' in recipes["test-slow"]
    assert f'pytest --timeout=7200 -m "long and {anywhere}"' in recipes["test-long"]
    jobs = _read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]
    run = {command for job in jobs.values() for command in _commands(job)}
    parts = ("check", "test-fast", "test-slow", "test-long", "docs")
    assert {f"bash .ci/run {part}" for part in parts} <= run


def test_the_fast_tests_run_on_every_python_that_is_supported() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    supported = {c.rpartition(" ")[2] for c in declared if re.search(r"Python :: 3\.\d+$", c)}
    jobs = _read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]
    assert set(jobs["test-fast"]["strategy"]["matrix"]["python"]) == supported


def _release(job: str) -> dict[str, Any]:
    workflow = _read(ROOT / ".github" / "workflows" / "release.yml")
    assert workflow[True] == {"push": {"tags": ["v*"]}}
    found = workflow["jobs"][job]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(("says", "fits"), [("1.2.3", True), ("1.2.4.dev1+g4f34e00", False)])
def test_a_release_stops_where_the_tag_is_not_the_version(
    tmp_path: Path, says: str, fits: bool
) -> None:
    (step,) = [s for s in _release("build")["steps"] if s.get("name") == "The tag is the version"]
    command = tmp_path / "build" / "dist-venv" / "bin" / "flowbench"
    command.parent.mkdir(parents=True)
    command.write_text(f"#!/bin/sh\necho flowbench {says}\n")
    command.chmod(0o755)
    env = os.environ | {"GITHUB_REF_NAME": "v1.2.3"}
    done = subprocess.run(["bash", "-ec", step["run"]], cwd=tmp_path, env=env)
    assert (done.returncode == 0) is fits


def test_a_release_publishes_what_was_built_and_proves_who_it_is() -> None:
    build, publish = _release("build"), _release("publish")
    (checkout,) = [s for s in build["steps"] if s.get("uses", "").startswith("actions/checkout@")]
    assert checkout["with"]["fetch-depth"] == 0, "tags are needed: the version is one"
    kept = {
        s["with"]["name"]: s["with"]["path"]
        for s in build["steps"]
        if s.get("uses", "").startswith("actions/upload-artifact@")
    }
    download, upload = publish["steps"]
    assert kept[download["with"]["name"]] == "build/dist"
    assert download["with"]["path"] == "dist"  # where the action looks by default
    assert upload["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert "password" not in upload.get("with", {})
    assert publish["permissions"] == {"id-token": "write"}
    assert (publish["needs"], publish["environment"]) == ("build", "release")


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_scripts_parse(path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    subprocess.run([bash, "-n", str(path)], check=True)


@pytest.mark.parametrize(
    "path", [path for path in FORMS if path.stem != "config"], ids=lambda path: path.stem
)
def test_a_form_asks_something_and_repeats_no_id(path: Path) -> None:
    form = _read(path)
    assert {"name", "description", "body"} <= set(form)
    kinds = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert {field["type"] for field in form["body"]} <= kinds
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in form["body"])


def test_hooks_before_a_commit_call_installed_tools() -> None:
    repos = _read(ROOT / ".pre-commit-config.yaml")["repos"]
    hooks = [hook for repo in repos for hook in repo["hooks"]]
    assert [repo["repo"] for repo in repos] == ["local"]
    assert {hook["language"] for hook in hooks} == {"system"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    installed = {re.split(r"[>=<\[]", requirement)[0] for requirement in extras["dev"]}
    assert {hook["entry"].split()[0] for hook in hooks} <= installed
