"""The guide is true: its flow is checked, its commands run, its list of checks is complete."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowbench.contract import check_model
from flowbench.contract.models import CHECKS
from flowbench.contract.pytest_plugin import Contract
from flowbench.registry import PluginSelection, load_registry

GUIDE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE, flags=re.DOTALL | re.MULTILINE)


def _file(name: str) -> str:
    (text,) = [text for kind, text in BLOCKS if kind == "python" and f"# {name}" in text]
    return text


def _flow() -> str:
    return _file("my_flow.py")


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


def test_the_dataset_and_the_metric_keep_the_contract(tmp_path: Path) -> None:
    (tmp_path / "my_data.py").write_text(_file("my_data.py"))
    contract = Contract(tmp_path / "my_data.py")
    contract.dataset("ring", data_dir=tmp_path)
    contract.metric("worst_nll")


TESTS = [text for kind, text in BLOCKS if kind == "python" and "def test_" in text]


@pytest.mark.parametrize("text", TESTS)
def test_the_test_files_pass(tmp_path: Path, text: str) -> None:
    name = f"guide_{hashlib.sha256(text.encode()).hexdigest()[:8]}"  # a module is loaded once
    (tmp_path / f"{name}.py").write_text(
        _flow().replace("my_flow", name).replace("myflow", "my-flow")
    )
    names: dict[str, Any] = {}
    exec(compile(text, "docs/plugins.md", "exec"), names)
    names["test_contract"](Contract(tmp_path / f"{name}.py"))


def test_every_python_block_is_run_by_one_of_these() -> None:
    python = [text for kind, text in BLOCKS if kind == "python"]
    assert sorted(python) == sorted([_flow(), _file("my_data.py"), *TESTS])


@pytest.mark.slow
def test_the_commands_run_in_their_order(tmp_path: Path) -> None:
    for name in ("my_flow.py", "my_data.py"):
        (tmp_path / name).write_text(_file(name))
    env = {k: v for k, v in os.environ.items() if not k.startswith("FLOWBENCH_")}
    for text in (text for kind, text in BLOCKS if kind == "sh"):
        for line in text.splitlines():
            command = [sys.executable, "-m", "flowbench.cli.app", *shlex.split(line)[1:]]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
            assert done.returncode == 0, line + done.stdout + done.stderr
    assert (tmp_path / "flowbench-my-flow" / "pyproject.toml").is_file()
    assert list(tmp_path.rglob("index.html"))
