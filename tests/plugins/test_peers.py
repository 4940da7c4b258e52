"""The third-party package in ``plugins/flowbench-peers``: installed as its users would, and run.

Its environment is new, but sees the packages of this one, so that torch is not installed again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "plugins" / "flowbench-peers"
INSTALL = ("pip", "install", "--quiet", "--no-build-isolation", "-c", str(ROOT / "constraints.txt"))

pytestmark = pytest.mark.slow

Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a module in an environment with the peers; fails with what it printed."""
    folder = tmp_path_factory.mktemp("peers")
    python = _environment(folder / "env")
    env = {name: value for name, value in os.environ.items() if not name.startswith("FLOWBENCH_")}

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [str(python), "-m", *arguments], cwd=folder, capture_output=True, text=True, env=env
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call(*INSTALL, str(PEERS))
    return call


def _environment(folder: Path) -> Path:
    venv.create(folder, with_pip=False)
    ours = sysconfig.get_paths()["purelib"]
    theirs = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # Not just the path: an editable installation of flowbench is a .pth file of its own.
    (theirs / "outer.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    return folder / "bin" / Path(sys.executable).name


def test_it_is_a_plugin_like_any_other(run: Run) -> None:
    assert "flowbench-peers:peers 0.1.0  API 1  loaded" in run("flowbench.cli.app", "plugins")


def test_it_passes_its_own_tests(run: Run) -> None:
    run("pytest", "-q", "-p", "no:cacheprovider", "-c", str(PEERS / "pyproject.toml"), str(PEERS))


def test_a_wrapped_glow_runs_beside_ours(run: Run) -> None:
    models = ("--models", "glow:tiny,normflows-glow:tiny", "--datasets", "natural-patches")
    protocol = ("--budget", "4steps", "--metrics", "bpd", "--eval-draws", "1")
    run("flowbench.cli.app", "run", *models, *protocol, "--results", "results")
    rows = run("flowbench.cli.app", "results", "list", "--json", "--results", "results")
    assert rows.count('"status": "ok"') >= 2
    assert '"model": "normflows-glow"' in rows
