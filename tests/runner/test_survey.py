"""What is under way, told by files alone; and the word that stops a job."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from flowbench.errors import StoreError
from flowbench.runner import attempt as attempts
from flowbench.runner.attempt import HEARTBEAT, ORDER, AttemptDir, Heartbeat, ResultsDir, WorkOrder
from flowbench.runner.executors.base import LOG
from flowbench.runner.survey import UnderWay, cancel, find_attempt_dir, log_lines, survey
from flowbench.store.reconcile import scan
from flowbench.store.records import AttemptRow
from tests.store import attempts as make

COMMAND = ("flowbench", "run", "--models", "glow")


def begin(results: Path, model: str = "glow", seed: int = 0, **beat: Any) -> AttemptDir:
    """An attempt whose worker has begun."""
    row = make.job(model, seed)
    attempt = ResultsDir(results).new_attempt(row.job_id)
    order = WorkOrder(
        job=row,
        number=attempt.number,
        metrics=("bpd",),
        device="cpu",
        num_threads=1,
        data_dir="data",
        spawned=0.0,
        spawned_utc=f"2026-01-02T03:04:0{seed}+00:00",
        command=COMMAND,
    )
    attempt.write(ORDER, order.model_dump_json())
    if beat:
        attempt.write(HEARTBEAT, Heartbeat(pid=1, **beat).model_dump_json())
    return attempt


def age(attempt: AttemptDir, seconds: float) -> None:
    """Makes the last sign of life older."""
    for name in (HEARTBEAT, ORDER):
        if (attempt.path / name).exists():
            os.utime(attempt.path / name, (time.time() - seconds,) * 2)


def end(attempt: AttemptDir, status: Any = "ok") -> AttemptRow:
    order = attempt.order()
    record = make.attempt(order.job, order.number, status=status)
    attempt.write_record(record)
    return record


def test_what_has_no_record_is_under_way_and_the_rest_is_counted(tmp_path: Path) -> None:
    second = begin(tmp_path, seed=1, phase="training", progress=0.25, step=10)
    first = begin(tmp_path, seed=0)
    end(begin(tmp_path, seed=2))
    end(begin(tmp_path, seed=3), "crashed")
    broken = begin(tmp_path, seed=4)
    broken.write("record.json", '{"status": 3}')
    (tmp_path / "runs" / "notes.txt").write_text("not a job")
    found = survey(tmp_path)
    assert [one.attempt.path for one in found.under_way] == [first.path, second.path]
    assert [one.heartbeat and one.heartbeat.step for one in found.under_way] == [None, 10]
    assert found.ended == {"ok": 1, "crashed": 1, "unreadable": 1}


@pytest.mark.parametrize("name", ["9" * 20, "²", "01", "notes"])
def test_what_is_no_number_of_an_attempt_is_none(tmp_path: Path, name: str) -> None:
    one = begin(tmp_path, step=1)
    (one.path.parent / name).mkdir()
    (one.path.parent / "7").write_text("a file")
    results = ResultsDir(tmp_path)
    assert [a.number for a in results.attempts(one.path.parent.name)] == [1]
    assert [found.order.number for found in survey(tmp_path).under_way] == [1]
    assert results.new_attempt(one.path.parent.name).number == 2
    assert set(scan(tmp_path)) == set()


def test_silence_is_told_by_the_clock_of_the_files(tmp_path: Path) -> None:
    silent = begin(tmp_path, seed=0, step=1)
    age(silent, 300.0)
    (one,) = survey(tmp_path).under_way
    assert one.is_gone
    assert 299 < one.silent_s < 310
    ahead = begin(tmp_path, seed=1, step=1)  # by a host whose clock is an hour ahead
    age(ahead, -3600.0)
    late, new = survey(tmp_path).under_way
    assert late.silent_s > 3600
    assert new.silent_s == pytest.approx(0.0, abs=1.0)


def test_a_look_at_a_folder_writes_nothing(tmp_path: Path) -> None:
    begin(tmp_path, step=1)
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*"))
    survey(tmp_path)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*")) == before
    with pytest.raises(StoreError, match="no results folder"):
        survey(tmp_path / "none")


def test_to_cancel_leaves_word_with_those_that_are_meant(tmp_path: Path) -> None:
    one, two = begin(tmp_path, seed=0, step=1), begin(tmp_path, seed=1, step=1)
    name = two.path.parent.name
    (asked,) = cancel(tmp_path, [name[:10]])
    assert isinstance(asked, UnderWay)
    assert asked.attempt.path == two.path
    assert not one.is_asked_to_stop()
    assert two.stopped_by() == ("preempted", "cancelled by flowbench cancel")
    (asked,) = cancel(tmp_path, [f"{one.path.parent.name}-1"])
    assert isinstance(asked, UnderWay)
    assert asked.attempt.path == one.path


@pytest.mark.parametrize("which", ["none-of-that-name", ""])
def test_what_is_not_under_way_cannot_be_cancelled(tmp_path: Path, which: str) -> None:
    gone = begin(tmp_path, step=1)
    age(gone, 300.0)
    with pytest.raises(StoreError, match=r"not under way: unknown job .*flowbench status"):
        cancel(tmp_path, [which])
    end(gone)
    with pytest.raises(StoreError, match="not under way"):
        cancel(tmp_path, [gone.path.parent.name])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"timeout charged 9 s", ("timeout", "charged 9 s")),
        (b"killed the run was interrupted twice", ("killed", "the run was interrupted twice")),
        (b"", ("preempted", "asked to stop")),  # no time to fill it
        (b"\xff\xfe", ("preempted", "asked to stop")),
        (b"nonsense why", ("preempted", "why")),
    ],
)
def test_whoever_left_word_is_recorded(tmp_path: Path, content: bytes, expected: Any) -> None:
    attempt = begin(tmp_path)
    assert attempt.stopped_by() == ("preempted", "asked to stop")
    (attempt.path / "stop").write_bytes(content)
    assert attempt.stopped_by() == expected


def test_an_attempt_is_found_by_its_id_its_job_or_a_beginning(tmp_path: Path) -> None:
    begin(tmp_path)
    second = begin(tmp_path)
    job_id = second.path.parent.name
    for which, number in ((job_id, 2), (job_id[:6], 2), (f"{job_id}-1", 1)):
        found = find_attempt_dir(tmp_path, which)
        assert found is not None
        assert found.number == number
    assert find_attempt_dir(tmp_path, "other") is None


def test_a_log_is_followed_until_its_attempt_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowbench.runner.survey.FOLLOW_EVERY_S", 0.0)
    attempt = begin(tmp_path, step=1)
    log = attempt.path / LOG
    log.write_bytes(b"first\nmid")
    lines = log_lines(attempt, follow=True)
    assert next(lines) == "first"
    with log.open("ab") as file:
        file.write(b"dle \xff\nlast")
    assert next(lines) == "middle \N{REPLACEMENT CHARACTER}"
    end(attempt)
    assert list(lines) == ["last"]
    assert list(log_lines(attempt, follow=False)) == ["first", "middle \ufffd", "last"]


def test_a_log_without_end_keeps_its_beginning_and_its_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "MAX_LOG_BYTES", 1000)
    monkeypatch.setattr(attempts, "KEPT_LOG_BYTES", 100)
    attempt = begin(tmp_path)
    attempt.trim_log()  # there is none yet
    log = attempt.path / LOG
    with log.open("ab", buffering=0) as worker:
        worker.write(b"begun\n")
        for index in range(300):
            worker.write(f"line {index}\n".encode())
            attempt.trim_log()
            assert log.stat().st_size <= 1000
        worker.write(b"last words")
    text = log.read_text()
    assert text.startswith("begun\nline 0\n")
    assert text.endswith("line 299\nlast words")
    assert "was left out" in text
