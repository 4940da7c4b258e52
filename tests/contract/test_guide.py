"""The guides to plugins are true: what they show is checked, their commands run in order."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flowbench.contract import check_model
from flowbench.contract.datasets import CHECKS as DATASET_CHECKS
from flowbench.contract.metrics import CHECKS as METRIC_CHECKS
from flowbench.contract.models import CHECKS as MODEL_CHECKS
from flowbench.contract.pytest_plugin import Contract
from flowbench.registry import PluginSelection, load_registry
from tests.environments import PIP, make_environment, run_in

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    (DOCS / "how-to" / f"{name}.md").read_text() for name in ("plugin", "my-dataset", "my-metric")
]
CONTRACT = (DOCS / "reference" / "contract.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
BLOCKS: list[tuple[str, str]] = [found for page in PAGES for found in BLOCK.findall(page)]
FILES = ("my_flow.py", "my_data.py", "my_metric.py")


def _file(name: str) -> str:
    (text,) = [text for kind, text in BLOCKS if kind == "python" and text.startswith(f"# {name}\n")]
    return text


def _flow() -> str:
    return _file("my_flow.py")


LOAD = "load"  # what goes wrong before there is anything to check, see dataset_contract


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("check", {check.name for check in MODEL_CHECKS}),
        ("of a dataset", {LOAD} | {check.name for check in DATASET_CHECKS}),
        ("of a metric", {check.name for check in METRIC_CHECKS}),
    ],
)
def test_every_check_is_explained(title: str, names: set[str]) -> None:
    (table,) = re.findall(rf"^\| {title} \|.*\n((?:\|.*\n)*)", CONTRACT, flags=re.MULTILINE)
    cells = [row.split("|")[1] for row in table.splitlines()]
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == names


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
    for name in FILES[1:]:
        (tmp_path / name).write_text(_file(name))
    Contract(tmp_path / "my_data.py").dataset("ring", data_dir=tmp_path)
    report = Contract(tmp_path / "my_metric.py").metric("worst_nll")
    assert {r.status for r in report.results if r.name == "closed_form"} == {"passed"}


TESTS = [text for kind, text in BLOCKS if kind == "python" and "def test_" in text]


@pytest.mark.slow
@pytest.mark.parametrize("text", TESTS)
def test_the_test_files_pass(tmp_path: Path, text: str) -> None:
    name = f"guide_{hashlib.sha256(text.encode()).hexdigest()[:8]}"  # a module is loaded once
    (tmp_path / f"{name}.py").write_text(
        _flow().replace("my_flow", name).replace("myflow", "my-flow")
    )
    names: dict[str, Any] = {}
    exec(compile(text, "docs/how-to/plugin.md", "exec"), names)
    names["test_contract"](Contract(tmp_path / f"{name}.py"))


def test_every_block_is_run_by_one_of_these() -> None:
    python = [text for kind, text in BLOCKS if kind == "python"]
    assert sorted(python) == sorted([*map(_file, FILES), *TESTS])
    assert {kind for kind, _ in BLOCKS} == {"python", "sh"}
    assert sum(page.count("```") for page in PAGES) == 2 * len(BLOCKS)


# What a test has in place of seconds.
SUBSTITUTES = {
    "two-moons --budget 20s": "two-moons --budget 20steps --metrics nll",
    "two-moons --budget 2s": "two-moons --budget 5steps --metrics nll",
    "ring --budget 2s": "ring --budget 20steps --metrics nll",
    "worst_nll --budget 2s": "worst_nll --budget 5steps",
}
NEW_ENVIRONMENT = "python3 -m venv env && . env/bin/activate\n"


@pytest.mark.slow
@pytest.mark.long
def test_the_commands_run_in_their_order(tmp_path: Path) -> None:
    """All of them, from the empty folder on, in one shell."""
    commands = "".join(text for kind, text in BLOCKS if kind == "sh")
    assert commands.startswith(NEW_ENVIRONMENT)
    # The new environment is made here, because it is to see the packages that this one has.
    python = make_environment(tmp_path / "env", "pip", "mypy", "pytest", "ruff")
    (tmp_path / "flowbench").symlink_to(ROOT)
    work = tmp_path / "my-work"
    saved = "".join(f"cp {tmp_path / name} .\n" for name in FILES)
    for name in FILES:
        (tmp_path / name).write_text(_file(name))
    enter = "cd my-work\n"
    rest = commands.removeprefix(NEW_ENVIRONMENT).replace(enter, enter + saved)
    for given, instead in SUBSTITUTES.items():
        assert rest.count(given) == 1
        rest = rest.replace(given, instead)
    env = {k: v for k, v in os.environ.items() if not k.startswith("FLOWBENCH_")}
    env["FLOWBENCH_IMPORT_LIMIT"] = "120"  # the machine may be busy
    done = subprocess.run(
        ["bash", "-exc", ". env/bin/activate\n" + rest],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=env | PIP,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        len(list((work / "results" / "runs").iterdir())) == 5
    )  # of myflow, realnvp, my-flow, and realnvp for the dataset and the metric
    assert (work / "boards" / "index.html").is_file()
    assert "PASSED" in done.stdout
    assert set(_ranks(work, python)) == {"1", "2"}


def _ranks(work: Path, python: Path) -> list[str]:
    """Places on the board of the guide's flow and of the model beside it, in that order."""
    run_in(work, python, "flowbench.cli.app", "leaderboard", "--format", "csv", "--out", "table")
    with (work / "table" / "two-moons-20steps.csv").open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["metric"] == "nll"]
    rank = {row["model"].partition(":")[0]: row["rank"] for row in rows}
    return [rank["myflow"], rank["realnvp"]]
