"""Where others can install flowbench from, by what pip has recorded of its installation."""

from __future__ import annotations

import json
import subprocess
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowbench.contract.origin import installed_from

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Any:
    def record(content: dict[str, Any] | None) -> str | None:
        text = None if content is None else json.dumps(content)
        found = SimpleNamespace(read_text={"direct_url.json": text}.get)
        monkeypatch.setattr(metadata, "distribution", lambda name: found)
        return installed_from()

    return record


def test_from_an_index_it_is_its_name(recorded: Any) -> None:
    assert recorded(None) == "flowbench"


@pytest.mark.parametrize(
    "url",
    [
        "https://host.example/owner/flowbench.git",
        "https://ada:secret@host.example/owner/flowbench.git",  # what is published has no password
        "ssh://git@host.example/owner/flowbench.git",
    ],
)
def test_from_a_repository_it_is_that_commit(recorded: Any, url: str) -> None:
    found = recorded({"url": url, "vcs_info": {"vcs": "git", "commit_id": COMMIT}})
    assert found == f"git+https://host.example/owner/flowbench.git@{COMMIT}"


def test_files_of_this_machine_are_nowhere_else(recorded: Any, tmp_path: Path) -> None:
    assert recorded({"url": (tmp_path / "x.whl").as_uri(), "archive_info": {}}) is None
    assert recorded({"url": tmp_path.as_uri(), "dir_info": {}}) is None
    assert recorded({"url": (tmp_path / "gone").as_uri(), "dir_info": {"editable": True}}) is None


def test_a_clone_is_where_it_was_cloned_from(recorded: Any, tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    (clone / "inner").mkdir(parents=True)

    def git(*arguments: str) -> str:
        known = (
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.org",
            "-c",
            "commit.gpgsign=false",
        )
        command = ["git", *known, *arguments]
        done = subprocess.run(command, cwd=clone, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def found(folder: Path = clone) -> object:
        return recorded({"url": folder.as_uri(), "dir_info": {"editable": True}})

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message=first")
    assert found() is None  # it has no address
    git("remote", "add", "origin", "git@host.example:owner/flowbench.git")
    assert found() == "git+https://host.example/owner/flowbench.git"  # others have no such commit
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    head = git("rev-parse", "HEAD")
    assert found() == f"git+https://host.example/owner/flowbench.git@{head}"
    assert found(clone / "inner") is None  # the repository is of something else
    git("remote", "set-url", "origin", str(tmp_path))
    assert found() is None
