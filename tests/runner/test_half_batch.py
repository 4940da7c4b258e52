"""What ran out of memory is tried again in more parts, until it fits or nothing is left to part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowbench.api.executors import JobState
from flowbench.cli.summary import failures, succeeded
from flowbench.errors import ConfigError
from flowbench.registry import PluginSelection, Registry
from flowbench.runner.attempt import HEARTBEAT, AttemptDir, Heartbeat, Placement
from flowbench.runner.half_batch import half_batch
from flowbench.runner.plan import Job, plan
from flowbench.runner.run import ReadyRun, RunRequest, get_ready
from flowbench.store.records import PARTS, AttemptRow
from flowbench.suite.schema import Suite
from tests.store import attempts as make

SUITE: dict[str, Any] = {
    "models": ("fake-large",),
    "datasets": ("fake-images",),
    "budget": "16steps",
    "metrics": ("fake_nll",),
}


def planned(registry: Registry, **settings: Any) -> Job:
    """The job as the command line asks for it."""
    overrides = {f"fake-large.training.{name}": value for name, value in settings.items()}
    (job,), _ = plan(Suite(**SUITE, overrides=overrides), registry, Path())
    return job


def ran_out(folder: Path, job: Job, beat: dict[str, Any] | None = None, **fields: Any) -> Any:
    """An attempt that ran out of memory, with its last heartbeat, and its record."""
    number = len(list(folder.glob(f"runs/{job.row.job_id}/[0-9]"))) + 1
    path = folder / "runs" / job.row.job_id / str(number)
    path.mkdir(parents=True)
    attempt = AttemptDir(path)
    attempt.write(HEARTBEAT, Heartbeat(pid=1, **(beat or {"phase": "training"})).model_dump_json())
    code = {
        "core_code": job.code.core,
        "model_code": job.code.model,
        "dataset_code": job.code.dataset,
    }
    record = make.attempt(job.row, number, **{"status": "oom", "reason": "full", **code, **fields})
    attempt.write_record(record)
    return attempt, record


def test_the_job_is_the_one_that_the_setting_asks_for(
    fake_registry: Registry, tmp_path: Path
) -> None:
    job = planned(fake_registry)
    half = half_batch(job, *ran_out(tmp_path, job))
    asked = planned(fake_registry, accumulate=2)
    assert half.row == asked.row
    assert half.row.job_id != job.row.job_id
    assert half.row.overrides == {PARTS: 2}
    assert half.label.endswith("seed 0, batch in 2 parts")
    assert half.instead_of == f"{job.row.job_id}-1"


@pytest.mark.parametrize(
    ("batch", "parts"), [(16, [2, 4, 8, 16]), (50, [2, 5, 10, 25, 50]), (75, [3, 15, 75]), (1, [])]
)
def test_it_ends_with_single_examples(
    fake_registry: Registry, tmp_path: Path, batch: int, parts: list[int]
) -> None:
    job = planned(fake_registry, batch_size=batch)
    for num in parts:
        job = half_batch(job, *ran_out(tmp_path, job))
        assert job.row.num_parts == num
    with pytest.raises(ConfigError, match="not tried with half a batch: it takes one example at"):
        half_batch(job, *ran_out(tmp_path, job))


def test_each_device_has_an_example_at_least(fake_registry: Registry, tmp_path: Path) -> None:
    job = planned(fake_registry, batch_size=24)
    for num in (2, 4, 12):
        job = half_batch(job, *ran_out(tmp_path, job, num_devices=2))
        assert job.row.num_parts == num
    with pytest.raises(ConfigError, match="it takes one example at"):
        half_batch(job, *ran_out(tmp_path, job, num_devices=2))


@pytest.mark.parametrize(
    ("beat", "fields", "reason"),
    [
        ({"phase": "training", "whole_batch": "BatchNorm2d (a) does"}, {}, "whole: BatchNorm2d"),
        ({"phase": "evaluating"}, {}, "it was evaluating, of which the batch is no part"),
        ({"phase": "measuring", "detail": "fid"}, {}, "it was measuring fid, of which"),
        ({"phase": "preparing"}, {"ledger": {"setup": 1.0}}, "it had not begun to train"),
    ],
)
def test_what_more_parts_would_not_help_is_refused(
    fake_registry: Registry, tmp_path: Path, beat: Any, fields: Any, reason: str
) -> None:
    job = planned(fake_registry)
    with pytest.raises(ConfigError, match=f"seed 0: out of memory, and not tried .*{reason}"):
        half_batch(job, *ran_out(tmp_path, job, beat, **fields))


def test_a_heartbeat_of_a_worker_that_was_killed_may_be_a_second_old(
    fake_registry: Registry, tmp_path: Path
) -> None:
    job = planned(fake_registry)
    attempt, record = ran_out(tmp_path, job, {"phase": "preparing"}, ledger={})
    assert half_batch(job, attempt, record).row.num_parts == 2
    (attempt.path / HEARTBEAT).unlink()
    assert half_batch(job, attempt, record).row.num_parts == 2


class Watcher:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.added_jobs: list[Job] = []
        self.warnings: list[str] = []

    def added(self, job: Job) -> None:
        self.added_jobs.append(job)

    def placed(self, job: Job, placement: Placement, state: JobState | None) -> None: ...

    def started(self, job: Job, attempt: AttemptDir, num_threads: int) -> None: ...

    def beat(self, job: Job, heartbeat: Heartbeat) -> None: ...

    def ended(self, job: Job, record: AttemptRow) -> None: ...

    def stopping(self, num_jobs: int) -> None: ...

    def warn(self, message: str) -> None:
        self.warnings.append(message)


Ready = Callable[..., ReadyRun]


@pytest.fixture
def ready(fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path) -> Ready:
    def make_ready(*, half: bool = True, rerun: Any = None) -> ReadyRun:
        request = RunRequest(
            suites=(Suite(**SUITE),),
            results=tmp_path,
            data_dir=tmp_path,
            plugins=fake_plugins,
            device="cpu",
            num_jobs=1,
            executor="local",
            rerun=rerun,
            timeout_s=600,
            command=("flowbench", "run"),
            half_batch=half,
        )
        return get_ready(request, fake_registry)

    return make_ready


def finished(run: ReadyRun, watcher: Watcher, monkeypatch: pytest.MonkeyPatch, fits: int) -> Any:
    """Runs it with workers that need memory for each example at a time."""
    scheduler = run.scheduler(watcher)
    launched: list[int] = []

    def launch(job: Job, decision: Any, taken: Any) -> None:
        launched.append(job.row.num_parts)
        fine = 16 // job.row.num_parts <= fits
        attempt, record = ran_out(
            run.results.path, job, status="ok" if fine else "oom", measurements=measured(job)
        )
        taken.release()
        scheduler._note(job, record, attempt)

    monkeypatch.setattr(scheduler, "_launch", launch)
    records = scheduler.run(run.decisions)
    return launched, list(scheduler.decided.values()), records


def measured(job: Job) -> tuple[Any, ...]:
    return (make.measured("fake_nll", 1.0, "nats", code=job.code.metrics["fake_nll"]),)


def test_it_is_tried_until_it_fits_and_all_is_reused_then(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Watcher()
    launched, decided, records = finished(ready(), watcher, monkeypatch, fits=4)
    assert launched == [1, 2, 4]
    assert [job.row.num_parts for job in watcher.added_jobs] == [2, 4]
    assert [records[j.row.job_id].status for j, _ in decided] == ["oom", "oom", "ok"]
    assert succeeded(decided, records)
    lines = list(failures(decided, records))
    assert [line.rpartition("(")[2] for line in lines] == [
        "tried again: batch in 2 parts)",
        "tried again: batch in 4 parts)",
    ]
    again = ready()
    assert [d.action for _, d in again.decisions] == ["leave", "leave", "reuse"]
    launched, decided, records = finished(again, watcher, monkeypatch, fits=4)
    assert (launched, len(watcher.added_jobs)) == ([], 2)
    assert succeeded(decided, records)
    without = ready(half=False)
    assert [d.action for _, d in without.decisions] == ["leave"]
    _, decided, records = finished(without, watcher, monkeypatch, fits=4)
    assert not succeeded(decided, records)


def test_what_never_fits_ends(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Watcher()
    launched, decided, records = finished(ready(), watcher, monkeypatch, fits=0)
    assert launched == [1, 2, 4, 8, 16]
    assert not succeeded(decided, records)
    assert [line for line in watcher.warnings if "one example at a time" in line]
    again, words = ready(), Watcher()
    assert [d.action for _, d in again.decisions] == ["leave"] * 5
    launched, _, _ = finished(again, words, monkeypatch, fits=0)
    assert (launched, words.warnings) == ([], watcher.warnings)


def test_a_run_goes_on_with_what_another_had_only_begun(
    fake_registry: Registry, ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = planned(fake_registry)
    half = half_batch(job, *ran_out(tmp_path, job))
    (tmp_path / "runs" / half.row.job_id / "1").mkdir(parents=True)  # its run was killed there
    launched, decided, records = finished(ready(), Watcher(), monkeypatch, fits=8)
    assert launched == [2]
    assert [records[j.row.job_id].status for j, _ in decided] == ["oom", "ok"]
    assert records[half.row.job_id].number == 2


def test_what_fails_again_when_asked_for_takes_up_the_job_in_its_place(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(ready(), Watcher(), monkeypatch, fits=8)
    again = ready(rerun="failed")
    assert [d.action for _, d in again.decisions] == ["run"]
    launched, decided, records = finished(again, Watcher(), monkeypatch, fits=8)
    assert launched == [1]  # that in 2 parts is done
    assert succeeded(decided, records)


def test_nothing_is_begun_after_an_interrupt(
    fake_registry: Registry, ready: Ready, tmp_path: Path
) -> None:
    run, watcher = ready(), Watcher()
    job = run.decisions[0][0]
    scheduler = run.scheduler(watcher)
    scheduler.decided[job.row.job_id] = run.decisions[0]
    scheduler.interrupt()
    attempt, record = ran_out(tmp_path, job)
    scheduler._note(job, record, attempt)
    assert (watcher.added_jobs, list(scheduler._waiting)) == ([], [])


def test_a_record_may_hold_anything_in_place_of_a_configuration() -> None:
    row = make.job()
    for config in ({}, {"training": "none"}, {"training": {"accumulate": "two"}}):
        assert row.model_copy(update={"config": config}).num_parts == 1
