"""What shells are told when they ask how a command goes on, as typer's scripts ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import Command


def complete(flowbench: Command, line: str) -> list[str]:
    """What bash is offered at the end of a line."""
    flowbench.monkeypatch.setenv("_FLOWBENCH_COMPLETE", "complete_bash")
    flowbench.monkeypatch.setenv("COMP_WORDS", line)
    flowbench.monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    status, out, err = flowbench()
    assert (status, err) == (0, "")
    return out.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("flowbench lead", ["leaderboard"]),
        ("flowbench run --models glo", ["glow"]),
        ("flowbench run --models nice,glo", ["nice,glow"]),
        ("flowbench run --models glow,glo", []),
        ("flowbench run --datasets dig", ["digits"]),
        ("flowbench run --metrics bpd,param", ["bpd,params"]),
        ("flowbench run --rerun ", ["all", "contended", "failed", "stale"]),
        ("flowbench run --device cu", ["cuda"]),
        ("flowbench run denseflow-1", ["denseflow-1"]),
        ("flowbench leaderboard toy-2d denseflow-1", ["denseflow-1"]),
        ("flowbench leaderboard --format ma", []),
        ("flowbench leaderboard --format m", ["md"]),
        ("flowbench show realn", ["realnvp"]),
        ("flowbench show two-", ["two-moons"]),
        ("flowbench show glow --dataset mni", ["mnist"]),
        ("flowbench check glow reca", ["recall"]),
        ("flowbench list m", ["metrics", "models"]),
        ("flowbench new d", ["dataset"]),
        ("flowbench data prepare inception", ["inception-weights"]),
        ("flowbench data verify cifar1", ["cifar10"]),
        ("flowbench results list --model glo", ["glow"]),
        ("flowbench results list --status st", ["stale"]),
        ("flowbench results export digit", ["digits"]),
        ("flowbench claims denseflow-one", ["denseflow-one-draw", "denseflow-one-pass"]),
        ("flowbench claims --file no-such.toml denseflow-one", []),
    ],
)
def test_names_are_completed(flowbench: Command, line: str, offered: list[str]) -> None:
    assert complete(flowbench, line) == offered


@pytest.mark.parametrize("command", ["results show", "results logs", "compare glow", "compare"])
def test_ids_of_jobs_come_from_the_results_folder_that_is_meant(
    flowbench: Command, tmp_path: Path, command: str
) -> None:
    for folder, job in (("results", "a-digits-s0-12"), ("others", "a-digits-s1-34")):
        (tmp_path / folder / "runs" / job).mkdir(parents=True)
    assert complete(flowbench, f"flowbench {command} a-dig") == ["a-digits-s0-12"]
    there = complete(flowbench, f"flowbench {command} --results others a-dig")
    assert there == ["a-digits-s1-34"]
    assert complete(flowbench, f"flowbench {command} --results none a-dig") == []


def test_names_that_clash_are_left_to_the_command(
    flowbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWBENCH_PLUGINS", "no-such-distribution")
    assert complete(flowbench, "flowbench show glo") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_for_shells_are_shown(flowbench: Command, shell: str) -> None:
    flowbench.monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    status, out, _ = flowbench("--show-completion", shell)
    assert status == 0
    assert "_FLOWBENCH_COMPLETE" in out


def test_completion_imports_no_torch_and_opens_no_database(tmp_path: Path) -> None:
    code = (
        "import atexit, os, sys\n"
        "heavy = {'torch', 'duckdb', 'pandas', 'numpy', 'rich'}\n"
        "atexit.register(lambda: print(*heavy & set(sys.modules)))\n"
        "os.environ |= {'_FLOWBENCH_COMPLETE': 'complete_bash', 'COMP_CWORD': '3'}\n"
        "os.environ['COMP_WORDS'] = 'flowbench compare glow realn'\n"
        "sys.argv = ['flowbench']\n"
        "from flowbench.cli.app import main; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["realnvp"]
