"""Virtual environments that are new but see the packages of this one, so that nothing is heavy."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from functools import partial
from pathlib import Path

Run = Callable[..., str]
ROOT = Path(__file__).parents[1]

# Build with the packages that are here: an isolated build would fetch its own.
INSTALL = ("pip", "install", "--quiet", "--no-build-isolation")
# The same in pip's words for whoever types its name.
PIP = {"PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def make_environment(folder: Path, *tools: str) -> Path:
    """Makes an environment that sees the packages of this one, its own first.

    Args:
        folder: Where; it is created.
        *tools: Those of their modules that are to be commands in it; `ruff`, which is none.

    Returns:
        Its Python.
    """
    venv.create(folder)
    ours = sysconfig.get_paths()["purelib"]
    theirs = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # Not just the path: an editable installation of flowbench is a .pth file of its own.
    (theirs / "outer.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    python = folder / "bin" / Path(sys.executable).name
    for tool in tools:
        script = python.with_name(tool)
        if tool == "ruff":
            script.symlink_to(Path(sys.executable).with_name(tool))
            continue
        script.write_text(f'#!/bin/sh\nexec "{python}" -P -m {tool} "$@"\n')
        script.chmod(0o755)
    return python


def run_in(folder: Path, python: Path, *arguments: str) -> str:
    """Runs a module as a user would, without the settings of this test run.

    Args:
        folder: Where to run it.
        python: The environment's Python.
        *arguments: The module and its arguments.

    Returns:
        What it printed; a failure fails the test.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("FLOWBENCH_")}
    done = subprocess.run(
        [str(python), "-m", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=env | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def with_package(folder: Path, package: Path) -> Run:
    """Makes an environment with a package of this repository, installed as its users would.

    Args:
        folder: Where modules are run; the environment lies in it.
        package: The package's folder.

    Returns:
        Runs a module with its arguments; fails with what it printed.
    """
    run: Run = partial(run_in, folder, make_environment(folder / "env"))
    run(*INSTALL, "-c", str(ROOT / "constraints.txt"), str(package))
    return run
