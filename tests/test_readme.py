"""The README's commands run, in their order, from a fresh clone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environments import PIP, make_environment

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
COMMANDS = "".join(text for kind, text in BLOCK.findall(README) if kind == "sh")
SHOWN = next(text for kind, text in BLOCK.findall(README) if kind == "text")
# What a test has in place of minutes and of the address.
SUBSTITUTES = {
    "REPOSITORY": str(ROOT),
    "--budget 60s --seeds 0-2": "--budget 5steps",
    "flowbench run --models realnvp,glow &&": (
        "flowbench run --models realnvp,glow --budget 5steps &&"
    ),
}


def test_every_block_says_what_it_is() -> None:
    """Commands that run are `sh`; the rest is output, a synopsis, or needs a download."""
    assert {kind for kind, _ in BLOCK.findall(README)} == {"sh", "text", "python"}
    assert README.count("```") == 2 * len(BLOCK.findall(README))
    assert all(COMMANDS.count(given) == 1 for given in SUBSTITUTES)


@pytest.mark.slow
def test_the_commands_run_in_their_order_from_a_fresh_clone(tmp_path: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("there is no repository to clone: a source distribution")
    commands = COMMANDS
    for given, instead in SUBSTITUTES.items():
        commands = commands.replace(given, instead)
    clone, rest = commands.split("\n", 1)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("FLOWBENCH_", "PYTHONPATH"))}
    env |= {"DEMO_BUDGET": "5steps", "PYTHON": sys.executable, "COLUMNS": "100", **PIP}
    _run(clone, tmp_path, env)
    checkout = tmp_path / "flowbench"
    # The environment is made here, because it is to see the packages that this one has.
    make_environment(checkout / ".venv", "pip")
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    (flow,) = (text for kind, text in BLOCK.findall(contributing) if kind == "python")
    (checkout / "my_flow.py").write_text(flow)
    printed = _run(rest, checkout, env)
    names = set(re.findall(r"^(\S+:\S+) ", SHOWN, re.MULTILINE))
    assert names == {"realnvp:tiny", "glow:tiny"}
    assert all(f"\n{name} " in printed for name in names)
    assert (checkout / "boards" / "index.html").is_file()
    models = {path.name.split("-")[0] for path in (checkout / "results" / "runs").iterdir()}
    assert models == {"realnvp", "glow", "myflow"}


def _run(commands: str, folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=folder, capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
