"""The Dockerfile agrees with the repository, the Makefile and its page; CI builds it."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from flowbench import paths

ROOT = Path(__file__).parents[1]
FILE = (ROOT / "Dockerfile").read_text()
PAGE = (ROOT / "docs" / "how-to" / "docker.md").read_text()


def _steps() -> list[tuple[str, str]]:
    """Instructions and what they are given, of all stages."""
    lines = [line for line in FILE.splitlines() if line and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def _given(instruction: str) -> list[str]:
    return [rest for word, rest in _steps() if word == instruction]


COPIED = [name for rest in _given("COPY") for name in rest.split()[:-1]]
VOLUMES = re.findall(r'"([^"]+)"', " ".join(_given("VOLUME")))


def _left_out(path: str) -> bool:
    """What .dockerignore says of a file: the last pattern that names it or a folder above it."""
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            above = [path, *map(str, Path(path).parents)][:-1]
            names = [pattern, pattern.removeprefix("**/")]
            if any(fnmatch.fnmatchcase(p, n) for p in above for n in names):
                out = not line.startswith("!")
    return out


def test_nothing_that_git_tracks_is_left_out() -> None:
    """Or the version would be that of a changed tree."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout: what is tracked is not known")
    assert not [path for path in done.stdout.splitlines() if _left_out(path)]
    assert _left_out(".venv/bin/python")
    assert _left_out("results/runs/x/record.json")
    assert _left_out("plugins/flowbench_models/__pycache__/x.pyc")


def test_every_base_is_named_with_its_version_and_each_device_has_one() -> None:
    stages = [rest.split() for rest in _given("FROM")]
    *named, last = stages
    assert all(re.search(r":.*\d", image) for image, *_ in named)
    assert last == ["${DEVICE}"]
    assert {"cpu", "cuda"} <= {name for _, _, name in named}
    assert _given("ARG") == ["DEVICE=cpu"]
    # The second for tools that do not resolve the default.
    assert re.findall(r"--build-arg (\w+=\w+)", PAGE) == ["DEVICE=cuda", "DEVICE=cpu"]


def test_make_demo_finds_its_environment_made(tmp_path: Path) -> None:
    """What is copied and touched is what `make demo` waits for, so that it installs nothing."""
    for name in COPIED:
        shutil.copy(ROOT / name, tmp_path)
    (touched,) = re.findall(r"touch (\S+)", FILE)
    command = tmp_path / ".venv" / "bin" / "flowbench"
    command.parent.mkdir(parents=True)
    command.write_text('#!/bin/sh\necho "$@" >> called\n')
    command.chmod(0o755)
    (tmp_path / touched).touch()
    assert "docker run --rm flowbench make demo\n" in PAGE
    env = {**os.environ, "DEMO_BUDGET": "5s"}
    subprocess.run(["make", "demo"], cwd=tmp_path, check=True, capture_output=True, env=env)
    called = (tmp_path / "called").read_text().splitlines()
    assert called == ["run --models realnvp,glow --budget 5s", "leaderboard"]


def test_results_boards_and_data_are_volumes_that_its_user_owns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder,), (user,) = _given("WORKDIR"), _given("USER")
    settings = dict(part.split("=", 1) for part in shlex.split(" ".join(_given("ENV"))))
    monkeypatch.setenv("FLOWBENCH_DATA", settings["FLOWBENCH_DATA"])
    data = paths.data_dir(None)
    assert VOLUMES == [f"{folder}/results", f"{folder}/boards", str(data)]
    (made,) = re.findall(r"useradd .*--uid (\d+) (\w+)", FILE)
    assert user == made[0]  # by its number, so that a cluster can see that it is not root
    (owned,) = re.findall(rf"install --directory --owner={made[1]} .*? (results .*)", FILE)
    assert owned.split() == ["results", "boards", str(data)]
    assert settings["PATH"].startswith(f"{folder}/.venv/bin:")
    words = [word for word, _ in _steps()]
    assert words.index("USER") > max(n for n, word in enumerate(words) if word == "RUN")


def test_the_page_mounts_what_is_a_volume() -> None:
    assert set(re.findall(r'--volume "[^:]+:([^"]+)"', PAGE)) == set(VOLUMES)
    assert set(re.findall(r"^\| `(/.*?)` \|", PAGE, re.MULTILINE)) == set(VOLUMES)


def test_the_linter_has_nothing_to_say() -> None:
    linter = shutil.which("hadolint", path=sysconfig.get_path("scripts"))
    if linter is None:
        pytest.skip("hadolint is not here: its package is for Linux on x86-64 alone")
    done = subprocess.run([linter, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert not done.stdout
