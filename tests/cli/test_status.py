"""``status``, ``cancel`` and ``logs`` of what is under way, as they print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowbench.runner.ownership import Owner
from tests.cli.command import Command
from tests.cli.test_cli import FAKE, run_fakes
from tests.runner.test_survey import age, begin, end


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """One job that trains, one that is silent, one that is gone and one that is done."""
    folder = tmp_path / "r"
    training = {"phase": "training", "part": "train", "left_s": 45.0, "charged_s": 15.0}
    begin(folder, "glow", 0, progress=0.25, done=0.25, step=300, steps_per_s=20.0, **training)
    looking = begin(folder, "realnvp", 1, phase="looking", step=7)
    owner = Owner(host="node-7", boot="other", pid=812, started="2026-01-02", attempt=1)
    (looking.path.parent / "owner.lock").touch()
    (looking.path.parent / "owner.json").write_text(owner.model_dump_json())
    age(looking, 40.0)
    age(begin(folder, "nice", 2, step=7), 400.0)
    end(begin(folder, "maf", 3), "ok")
    return folder


def test_status_fits_into_80_columns(
    flowbench: Command, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowbench.cli.status.terminal_width", lambda: 80)
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = flowbench("status", "--results", str(results))
    assert (status, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    assert max(map(len, lines)) <= 80
    assert lines[0] == "2 jobs under way; ended in the last 24 h: 1 ok"
    assert lines[2].startswith("glow:small s0")
    assert lines[2].endswith("0:45")
    assert "1 of flowbench run --models glow (not known where it runs)" in lines
    assert "1 of flowbench run --models glow (node-7, pid 812)" in lines
    assert any(line.startswith("silent for 0:40: ") for line in lines)
    assert any(line.startswith("gone without a record: ") for line in lines)


def test_status_for_programs(flowbench: Command, results: Path) -> None:
    status, out, _ = flowbench("status", "--json", "--results", str(results))
    assert status == 0
    glow, realnvp, nice = json.loads(out)
    assert (glow["model"], glow["step"], glow["phase"], glow["gone"]) == (
        "glow", 300, "training", False
    )  # fmt: skip
    assert (realnvp["gone"], nice["gone"]) == (False, True)


def test_status_of_nothing(flowbench: Command, tmp_path: Path) -> None:
    status, _, err = flowbench("status")
    assert (status, err.count("\n")) == (1, 1)
    (tmp_path / "results").mkdir()
    assert flowbench("status")[1].splitlines() == ["0 jobs under way"]


def test_watching_ends_with_the_last_job(
    flowbench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = begin(tmp_path / "r", step=1)
    monkeypatch.setattr("flowbench.cli.status.time.sleep", lambda _: end(attempt))
    status, out, _ = flowbench("status", "--watch", "--results", str(tmp_path / "r"))
    assert status == 0
    assert "0 jobs under way; ended in the last 24 h: 1 ok" in out


def test_cancel_says_whom_it_asked(flowbench: Command, results: Path) -> None:
    job = json.loads(flowbench("status", "--json", "--results", str(results))[1])[0]["job_id"]
    status, out, _ = flowbench("cancel", job[:8], "--results", str(results))
    assert (status, out) == (0, f"asked to save and stop: {job}-1 (training)\n")
    status, _, err = flowbench("cancel", "nothing", "--results", str(results))
    assert (status, err.count("\n")) == (1, 1)


def test_the_log_of_a_job_under_way_needs_no_database(flowbench: Command, tmp_path: Path) -> None:
    attempt = begin(tmp_path / "r", phase="training", step=12)
    (attempt.path / "log.txt").write_bytes(
        b"\x1b[31mred\x1b[0m\n 10%\r 20%\r 30%\n\x1b]0;title\x07"
    )
    job = attempt.path.parent.name
    status, out, err = flowbench("results", "logs", job, "--results", str(tmp_path / "r"))
    assert (status, err) == (0, "")
    assert out == f"red\n 30%\n\ufffd]0;title\ufffd\n{job}-1: training, step 12\n"
    record = end(attempt)
    status, out, _ = flowbench("results", "logs", job, "-f", "--results", str(tmp_path / "r"))
    assert out.splitlines()[-1] == f"{job}-1: ok, {record.steps:,} steps, {record.wall_s:.1f} s"


@pytest.mark.slow
def test_a_job_is_reproduced_and_its_numbers_agree(flowbench: Command, tmp_path: Path) -> None:
    asked = ("--metrics", "fake_nll", "--budget", "20steps", "--results", str(tmp_path / "r"))
    status, _, err = flowbench(*run_fakes(*asked), "-q")
    assert (status, err) == (0, "")
    again = ("reproduce", "fake-gaussian", *FAKE, "--results", str(tmp_path / "r"))
    status, out, _ = flowbench(*again, "--tolerance", "1e-9")
    assert status == 0
    lines = out.splitlines()
    assert lines[1].split()[0] == "fake_nll"
    assert lines[1].split()[-1] == "equal"
    assert "-2 and fake-gaussian-fake-images-s0-" in lines[2]
    assert "values equal; log-likelihoods of test examples within 0.0e+00 nats" in lines[2]
    assert lines[3] == "differs: nothing in code or machine"
    status, _, err = flowbench("reproduce", "fake-gaussian", "--results", str(tmp_path / "r"))
    assert (status, err) == (
        1,
        "error: unknown dataset 'fake-images'; known: " + err.partition("known: ")[2],
    )
