"""The guide is true: its flow is checked, its commands run, its list of checks is complete."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from flowbench.contract import check_model
from flowbench.contract.models import CHECKS
from flowbench.registry import PluginSelection, load_registry

GUIDE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE, flags=re.DOTALL | re.MULTILINE)


def _flow() -> str:
    (text,) = [text for kind, text in BLOCKS if kind == "python" and "# my_flow.py" in text]
    return text


def test_every_check_of_models_is_explained() -> None:
    rows = [line for line in GUIDE.splitlines() if line.startswith("| `")]
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert explained == {check.name for check in CHECKS}


def test_the_flow_keeps_the_contract_and_its_mutant_does_not(tmp_path: Path) -> None:
    reports = []
    for name, sign in (("my_flow", ""), ("my_broken_flow", "-")):
        path = tmp_path / f"{name}.py"
        text = _flow().replace("my_flow", name).replace(", log_scale.sum", f", {sign}log_scale.sum")
        path.write_text(text)
        registry = load_registry(PluginSelection(exclude=("flowbench",), files=(path,)))
        reports.append(check_model(registry, "myflow", slow=False))
    assert reports[0].status == "passed", "\n".join(reports[0].lines())
    assert {result.name for result in reports[1].failures} == {"jacobian"}


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "python"])
def test_python_blocks_are_valid(text: str) -> None:
    compile(text, "docs/plugins.md", "exec")


@pytest.mark.slow
def test_the_commands_run_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "my_flow.py").write_text(_flow())
    env = {k: v for k, v in os.environ.items() if not k.startswith("FLOWBENCH_")}
    for text in (text for kind, text in BLOCKS if kind == "sh"):
        for line in text.splitlines():
            command = [sys.executable, "-m", "flowbench.cli.app", *shlex.split(line)[1:]]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
            assert done.returncode == 0, line + done.stdout + done.stderr
    assert (tmp_path / "flowbench-my-flow" / "pyproject.toml").is_file()
    assert list(tmp_path.rglob("index.html"))
