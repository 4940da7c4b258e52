from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowbench.budget import Budget
from flowbench.suite.claims import load_claims
from tests.cli.command import Command

MINE = """
seeds = "0-1"
[runs.plain]
label = "Plain"
model = "realnvp:vector"
set = { width = 8, couplings = 2 }
budget = "5steps"
[runs.wide]
label = "Wide"
model = "realnvp:vector"
set = { width = 16, couplings = 2 }
budget = "5steps"
[[claim]]
id = "wider-is-larger"
paper = "denseflow"
place = "here"
says = "Wider is larger."
[claim.test]
kind = "greater"
form = "ratio"
runs = ["plain", "wide"]
datasets = ["two-moons"]
metric = "params"
direction = "lower"
at_least = 1.5
apart = "The width."
[[claim]]
id = "wider-is-better"
paper = "denseflow"
place = "here"
says = "Wider is better after five steps."
[claim.test]
kind = "greater"
runs = ["wide", "plain"]
datasets = ["two-moons"]
metric = "nll"
direction = "lower"
at_least = 0.0
apart = "The width."
[[claim]]
id = "flying"
paper = "Another Paper"
place = "there"
says = "It flies."
untestable = "wings"
"""


@pytest.mark.slow
def test_claims_are_run_and_judged_and_jobs_are_those_of_run(
    flowbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "mine.toml").write_text(MINE, encoding="utf-8")
    given = ("claims", "--file", str(tmp_path / "mine.toml"), "--results", str(tmp_path / "r"))
    status, out, _ = flowbench(*given, "--dry-run")
    assert (status, "4 to train" in out) == (0, True)
    assert not (tmp_path / "r").exists()
    status, out, err = flowbench(*given)
    assert status == 0
    words = " ".join(out.split())
    assert "wider-is-larger: Wider is larger. two-moons: supported*, ×" in words
    assert "untestable here: wings" in words
    assert "2 of 2 tests judged" in words
    assert max(map(len, out.splitlines())) <= 80
    # Asked for again, by itself or through run, nothing is left to do.
    status, _, err = flowbench(*given, "wider-is-better")
    assert "4 reused" in err
    models = ("--models", "realnvp:vector", "--datasets", "two-moons", "--metrics", "nll,params")
    values = ("--set", "realnvp.width=8", "--set", "realnvp.couplings=2", "--budget", "5steps")
    where = ("--seeds", "0-1", "--results", str(tmp_path / "r"))
    status, out, _ = flowbench("run", *models, *values, *where, "--dry-run")
    assert "2 cached" in out
    status, out, _ = flowbench(*given, "--judge", "--json", "wider-is-larger")
    (found,) = json.loads(out)
    assert (found["verdict"], found["seeds"], found["p_value"]) == ("supported", 2, None)


def test_what_cannot_be_judged_is_said_without_running(flowbench: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(MINE, encoding="utf-8")
    given = ("claims", "--file", str(tmp_path / "mine.toml"), "--results", str(tmp_path / "r"))
    status, out, _ = flowbench(*given, "--judge")
    assert status == 0
    assert "two-moons: not run" in out
    assert "None of 2 tests has run with two seeds (flowbench claims)." in out
    status, out, _ = flowbench(*given, "flying")
    assert (status, "untestable here: wings" in out) == (0, True)
    other = MINE.replace('"realnvp:vector"', '"foreign:vector"\npackage = "flowbench-foreign"')
    (tmp_path / "mine.toml").write_text(other, encoding="utf-8")
    status, out, err = flowbench(*given)
    assert (status, "two-moons: not run" in out) == (0, True)
    assert err == "skipped: foreign is not installed; pip install flowbench-foreign\n"
    (tmp_path / "mine.toml").write_text(MINE.replace("realnvp", "relanvp"), encoding="utf-8")
    status, _, err = flowbench(*given)
    assert (status, "did you mean 'realnvp'" in err) == (1, True)
    (tmp_path / "mine.toml").write_text(MINE, encoding="utf-8")
    status, _, err = flowbench(*given, "wider")
    assert (status, err.count("\n")) == (1, 1)
    assert "unknown claim 'wider'" in err


@pytest.mark.slow
def test_all_claims_of_the_papers_can_be_planned_each_job_once(
    flowbench: Command, tmp_path: Path
) -> None:
    status, out, err = flowbench("claims", "--dry-run", "--results", str(tmp_path / "r"))
    assert status == 0
    file = load_claims()
    here = [run for run, _ in file.suites(file.claim) if f"skipped: {run.name} is not" not in err]
    jobs = [line.split()[0] for line in out.splitlines() if " run " in line]
    # Two runs that come to one job would each lack what the other alone measures.
    assert len(set(jobs)) == len(jobs) == len(here) * len(file.seeds)


def test_the_claims_of_the_papers_are_whole() -> None:
    file = load_claims()
    for claim in file.claim:
        claim.published_effect()  # of values that are there
        if claim.test is not None:
            low, high = claim.test.region
            assert low < high
    used = {asked.run for _, test in file.tests for asked in test.asked}
    assert used == file.runs.keys()
    assert not any(Budget.parse(run.budget).time_like for run in file.runs.values())
