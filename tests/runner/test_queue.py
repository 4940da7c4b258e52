"""Jobs that wait in a run, seen and cancelled by files alone."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from flowbench.errors import StoreError
from flowbench.registry import PluginSelection, Registry
from flowbench.runner.queue import JOBS, Queue, clear_queues, waiting_jobs
from flowbench.runner.survey import SILENT_S, cancel, survey
from tests.runner.test_half_batch import Watcher
from tests.runner.test_schedule import ready_run


def ids(results: Path) -> list[str]:
    return [one.job_id for one in survey(results).waiting]


def test_what_waits_is_seen_until_it_begins(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    queue = Queue(runs)
    queue.show({"glow-s0-1": "glow:tiny on digits, seed 0", "nice-s0-2": "nice:tiny on digits"})
    assert ids(tmp_path) == ["glow-s0-1", "nice-s0-2"]
    queue.show({"nice-s0-2": "nice:tiny on digits"})
    assert ids(tmp_path) == ["nice-s0-2"]
    queue.show({})
    assert (ids(tmp_path), list(runs.iterdir())) == ([], [])


def test_a_job_that_waits_is_cancelled_by_how_it_begins(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    queue = Queue(tmp_path / "runs")
    queue.show({"glow-s0-1": "glow", "nice-s0-2": "nice"})
    (asked,) = cancel(tmp_path, ["nice"])
    assert asked.job_id == "nice-s0-2"
    assert [queue.is_cancelled(job) for job in ("glow-s0-1", "nice-s0-2")] == [False, True]
    with pytest.raises(StoreError, match="unknown job 'maf'"):
        cancel(tmp_path, ["maf"])
    queue.close()
    assert not queue.is_cancelled("nice-s0-2")


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff"])
def test_a_damaged_queue_is_none(tmp_path: Path, content: bytes) -> None:
    Queue(tmp_path).show({"glow": "glow"})
    (path,) = tmp_path.glob(f".queue-*/{JOBS}")
    path.write_bytes(content)
    assert list(waiting_jobs(tmp_path, SILENT_S)) == []


def test_a_queue_of_a_run_that_was_killed_is_none_and_is_cleared_away(tmp_path: Path) -> None:
    Queue(tmp_path).show({"glow": "glow"})
    (path,) = tmp_path.glob(f".queue-*/{JOBS}")
    clear_queues(tmp_path)
    assert path.exists()
    os.utime(path, (time.time() - 300.0,) * 2)
    assert list(waiting_jobs(tmp_path, SILENT_S)) == []
    clear_queues(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_job_is_not_started_and_the_rest_goes_on(
    fake_registry: Registry,
    fake_plugins: PluginSelection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("fake-gaussian", "fake-slow", "fake-gan", "fake-crash")
    ready = ready_run(tmp_path, fake_registry, fake_plugins, models=names, metrics=("fake_nll",))
    scheduler = ready.scheduler(Watcher())
    launched: list[str] = []

    def launch(job: Any, decision: Any, taken: Any) -> None:
        taken.release()
        launched.append(job.row.model)
        if len(launched) == 1:
            waiting = {job.row.job_id: job.label for job in scheduler._waiting}
            scheduler._queue.show(waiting)
            cancel(tmp_path, ["fake-gan"])

    monkeypatch.setattr(scheduler, "_launch", launch)
    records = scheduler.run(ready.decisions)
    assert launched == ["fake-gaussian", "fake-slow", "fake-crash"]
    (left_out,) = records.values()
    assert (left_out.job.model, left_out.status) == ("fake-gan", "preempted")
    assert left_out.reason == "cancelled by flowbench cancel before it began"
    assert not list((tmp_path / "runs").glob(".queue-*"))
