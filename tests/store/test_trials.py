"""Trials of sweeps in the store: listed, exported and queried, and no rows of boards."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from flowbench.leaderboard import boards
from flowbench.store.ingest import ingest
from flowbench.store.queries import export, jobs_by_board, list_attempts, query, standing_attempts
from flowbench.store.records import Trial, Tuning
from tests.store import attempts as make

TUNING = Tuning(
    preset=3, sweep="abc", space={"lr": "log(0.1,1.0)"}, trials=2, pruned=1, charged_s=90.0
)
WHY = "at 20 % of its budget 3 bits/dim on validation, behind 2, the median of 5 trials there"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sweep_of_two(tmp_path_factory.mktemp("results"))


def sweep_of_two(folder: Path) -> Path:
    """A sweep of two trials, of which one is chosen."""
    best, other = (make.job("glow", overrides={"lr": lr}, config={"lr": lr}) for lr in (0.2, 0.9))
    trial: dict[str, Any] = {"measurements": (), "charged_s": 60.0}
    pruned: dict[str, Any] = {"status": "pruned", "reason": WHY, "measurements": ()}
    kept = Trial(sweep="abc", number=0, value=2.5, unit="bits/dim")
    rows = [
        make.attempt(best, 1, trial=kept, **trial),
        make.attempt(other, 1, trial=Trial(sweep="abc", number=1), charged_s=30.0, **pruned),
        make.attempt(best, 2, tuning=TUNING),
    ]
    written = [make.write(folder, row, curves=make.curve(2.5)) for row in rows]
    ingest(folder, written)
    return folder


def test_they_come_back_as_they_were_written(results: Path) -> None:
    listed = {(a["overrides"]["lr"], a["attempt"]): a for a in list_attempts(results)}
    assert listed[0.2, 1]["trial"] == {
        "sweep": "abc", "number": 0, "value": 2.5, "unit": "bits/dim"
    }  # fmt: skip
    assert (listed[0.9, 1]["status"], listed[0.9, 1]["reason"]) == ("pruned", WHY)
    assert listed[0.2, 2]["trial"] is None
    assert Tuning(**listed[0.2, 2]["tuning"]) == TUNING


def test_the_measured_attempt_stands_for_the_job_and_boards_show_it_alone(results: Path) -> None:
    standing = {record.job.overrides["lr"]: record for record in standing_attempts(results)}
    assert (standing[0.2].number, standing[0.2].tuning) == (2, TUNING)
    assert standing[0.9].status == "pruned"
    assert jobs_by_board(results) == [[standing[0.2].job.job_id]]
    (board,) = boards(results, with_details=True)
    (row,) = board.rows
    assert "best of 2 trials, 1 pruned, 1 min 30 s in all" in row.sub.replace("\u00a0", " ")
    assert not row.details[0].failures


def test_a_failed_measurement_is_not_hidden_by_its_trial(tmp_path: Path) -> None:
    job = make.job("glow")
    trial = make.attempt(job, 1, measurements=(), trial=Trial(sweep="a", number=0))
    last = make.failed(job, "crashed", 2)
    ingest(tmp_path, [make.write(tmp_path, record) for record in (trial, last)])
    (standing,) = standing_attempts(tmp_path)
    assert standing.status == "crashed"


def test_exports_have_them_with_status_reason_and_settings(results: Path, tmp_path: Path) -> None:
    with export(results, tmp_path / "all.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    (pruned,) = [line for line in lines if line["status"] == "pruned"]
    assert (pruned["reason"], json.loads(pruned["overrides"])) == (WHY, {"lr": 0.9})
    assert json.loads(pruned["trial"])["number"] == 1
    whole = json.loads(export(results, tmp_path / "all.json").read_text())
    assert {line["tuning"]["trials"] for line in whole if line["tuning"]} == {2}
    found = query(results, "SELECT sum(charged_s) FROM attempts WHERE trial IS NOT NULL")
    assert found.rows == ((90.0,),)
