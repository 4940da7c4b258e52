"""One attempt's trouble is its own: a full disk, a folder that is gone, a damaged checkpoint."""

from __future__ import annotations

import errno
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from flowbench.errors import StoreError
from flowbench.registry import PluginSelection, Registry
from flowbench.runner import worker
from flowbench.runner.attempt import CHECKPOINTS, AttemptDir
from flowbench.runner.run import ReadyRun, RunRequest, get_ready
from flowbench.store.records import AttemptRow
from flowbench.suite.schema import Suite
from flowbench.training.checkpoint import load_checkpoint, save_checkpoint
from tests.store import attempts as make


class Watcher:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.stepped = threading.Event()
        self.attempt: AttemptDir | None = None

    def added(self, job: Any) -> None: ...

    def started(self, job: Any, attempt: AttemptDir, slot: Any) -> None:
        self.attempt = attempt

    def beat(self, job: Any, heartbeat: Any) -> None:
        if heartbeat.step > 5:
            self.stepped.set()

    def ended(self, job: Any, record: AttemptRow) -> None: ...

    def stopping(self, num_jobs: int) -> None: ...

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def ready(fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path) -> Any:
    def make_ready(*models: str, budget: str = "20steps") -> ReadyRun:
        suite = Suite(
            models=models, datasets=("fake-images",), budget=budget, metrics=("fake_nll",)
        )
        request = RunRequest(
            suites=(suite,),
            results=tmp_path,
            data_dir=tmp_path,
            plugins=fake_plugins,
            device="cpu",
            num_jobs=2,
            executor="local",
            rerun=None,
            timeout_s=600,
            command=("flowbench", "run"),
        )
        return get_ready(request, fake_registry)

    return make_ready


def test_a_job_whose_folder_cannot_be_made_fails_alone(ready: Any) -> None:
    run = ready("fake-crash", "fake-gan")
    first = run.decisions[0][0]
    run.results.runs.mkdir(exist_ok=True)
    (run.results.runs / first.row.job_id).write_text("a file in its place")
    launched: list[str] = []
    scheduler = run.scheduler(Watcher())

    def launch(job: Any, decision: Any, taken: Any) -> None:
        launched.append(job.row.model)
        taken.release()

    scheduler._launch = launch
    records = scheduler.run(run.decisions)
    assert launched == ["fake-gan"]
    assert records[first.row.job_id].status == "crashed"
    assert "it could not be started: [Errno" in records[first.row.job_id].reason


def test_a_record_is_kept_until_there_is_room_for_it(
    ready: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ready("fake-gaussian")
    job = run.decisions[0][0]
    attempt = run.results.new_attempt(job.row.job_id)
    record = make.attempt(job.row)
    watcher = Watcher()
    scheduler = run.scheduler(watcher)
    scheduler._outcomes._unwritten.append((attempt, record))
    with monkeypatch.context() as full:

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        full.setattr(AttemptDir, "write_record", refuse)
        scheduler._outcomes.write_what_is_left()
        assert (scheduler._outcomes._unwritten, watcher.warnings) == ([(attempt, record)], [])
    scheduler._outcomes.write_what_is_left()
    assert scheduler._outcomes._unwritten == []
    assert attempt.record() == record


def test_a_record_whose_folder_is_gone_is_told(ready: Any) -> None:
    run = ready("fake-gaussian")
    job = run.decisions[0][0]
    attempt = run.results.new_attempt(job.row.job_id)
    watcher = Watcher()
    scheduler = run.scheduler(watcher)
    scheduler._outcomes._unwritten.append((attempt, make.attempt(job.row)))
    shutil.rmtree(attempt.path)
    scheduler._outcomes.write_what_is_left()
    assert scheduler._outcomes._unwritten == []
    assert "its record is not kept" in watcher.warnings[0]


def test_a_worker_waits_for_room_and_says_so(
    ready: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ready("fake-gaussian")
    directory = run.results.new_attempt(run.decisions[0][0].row.job_id)
    record = make.attempt(run.decisions[0][0].row)
    tried: list[str] = []
    write = AttemptDir.write_record

    def twice_full(self: AttemptDir, row: AttemptRow) -> None:
        tried.append("")
        if len(tried) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, row)

    class Pulse:
        said: ClassVar[list[tuple[str, str]]] = []

        def stop(self) -> None: ...

        def resume(self, phase: str, detail: str) -> None:
            self.said.append((phase, detail))

    attempt: Any = SimpleNamespace(directory=directory, pulse=Pulse())
    monkeypatch.setattr(AttemptDir, "write_record", twice_full)
    monkeypatch.setattr(worker, "TRY_AGAIN_S", 0.01)
    worker._write(record, attempt, threading.Event())
    assert directory.record() == record
    assert Pulse.said[0] == ("waiting", "for room to write its record")
    assert capsys.readouterr().err.count("No space left") == 1
    stop = threading.Event()
    stop.set()
    tried.clear()
    with pytest.raises(OSError, match="No space"):
        worker._write(record, attempt, stop)


@pytest.mark.slow
@pytest.mark.parametrize("num_damaged", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_damaged_checkpoint_gives_way_with_a_word(
    ready: Any, num_damaged: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, watcher = ready("fake-slow", budget="60steps"), Watcher()
    scheduler = run.scheduler(watcher)
    threading.Thread(
        target=lambda: (watcher.stepped.wait(60), scheduler.interrupt()), daemon=True
    ).start()
    with pytest.raises(KeyboardInterrupt):
        scheduler.run(run.decisions)
    assert watcher.attempt is not None
    last, spare = (watcher.attempt.path / name for name in CHECKPOINTS)
    save_checkpoint(last, load_checkpoint(last), spare=spare)
    for path in (last, spare)[:num_damaged]:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(StoreError, match="cannot read checkpoint"):
            load_checkpoint(path)
    again, watcher = ready("fake-slow", budget="60steps"), Watcher()
    (record,) = again.scheduler(watcher).run(again.decisions).values()
    assert (record.status, record.steps) == ("ok", 60)
    assert len(watcher.warnings) == num_damaged
    assert all("cannot read checkpoint" in line for line in watcher.warnings)
    assert len(record.provenance["damage"]) == num_damaged
