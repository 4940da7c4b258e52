"""Real workers in processes of their own: whatever becomes of them leaves a record."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from flowbench.api.executors import JobState, Slot
from flowbench.contract import CheckReport
from flowbench.contract.by_name import keep
from flowbench.errors import StoreError
from flowbench.registry import PluginSelection, Registry, load_registry
from flowbench.runner import slots
from flowbench.runner.attempt import (
    CHECKPOINT,
    MODEL,
    ORDER,
    AttemptDir,
    Heartbeat,
    Placement,
    ResultsDir,
)
from flowbench.runner.decide import Decision
from flowbench.runner.executors.base import LOG
from flowbench.runner.load import load_job
from flowbench.runner.ownership import Claim, Owner, claim, owner_of
from flowbench.runner.plan import Job
from flowbench.runner.run import ReadyRun, RunRequest, get_ready
from flowbench.runner.survey import cancel
from flowbench.runner.watchdog import KILL_AFTER_S
from flowbench.store.attempt_files import read_attempt
from flowbench.store.checks import latest_checks
from flowbench.store.queries import list_attempts
from flowbench.store.reconcile import readable
from flowbench.store.records import AttemptRow
from flowbench.suite.schema import Suite
from tests.store import attempts as make

FAKES = Path(__file__).parent.parent / "fakes.py"


class Quiet:
    """Watches a run and keeps what it hears."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.beats: list[tuple[str, int]] = []
        self.stopped: list[int] = []

    def added(self, job: Job) -> None: ...

    def placed(self, job: Job, placement: Placement, state: JobState | None) -> None: ...

    def started(self, job: Job, attempt: AttemptDir, num_threads: int) -> None: ...

    def beat(self, job: Job, heartbeat: Heartbeat) -> None:
        self.beats.append((job.row.model, heartbeat.step))

    def ended(self, job: Job, record: AttemptRow) -> None: ...

    def stopping(self, num_jobs: int) -> None:
        self.stopped.append(num_jobs)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def ready_run(
    results: Path, registry: Registry, plugins: PluginSelection, **suite: Any
) -> ReadyRun:
    base = {"datasets": ("fake-images",), "budget": "20steps"}
    spawn = suite.pop("spawn", False)
    request = RunRequest(
        suites=(Suite(**{**base, **suite}),),
        results=results,
        data_dir=results,
        plugins=plugins,
        device="cpu",
        num_jobs=2,
        executor="local",
        spawn=spawn,
        rerun=None,
        timeout_s=600,
        command=("flowbench", "run"),
    )
    return get_ready(request, registry)


def run(
    results: Path,
    registry: Registry,
    plugins: PluginSelection,
    observer: Quiet | None = None,
    **suite: Any,
) -> list[AttemptRow]:
    ready = ready_run(results, registry, plugins, **suite)
    records = ready.scheduler(observer or Quiet()).run(ready.decisions)
    return [records[job.row.job_id] for job, _ in ready.decisions]


@pytest.fixture(scope="module")
def outcome(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """One run of a model that ends well and of one that does not."""
    names = ("fake-gaussian", "fake-crash")
    return outcome_of(names, tmp_path_factory.mktemp("two"), fake_registry, fake_plugins)


@pytest.fixture(scope="module")
def every_end(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """One run of models that end in every way."""
    ends = ("gaussian", "facts", "gan", "crash", "diverge", "oom", "die", "linger")
    names = tuple(f"fake-{name}" for name in ends)
    return outcome_of(names, tmp_path_factory.mktemp("all"), fake_registry, fake_plugins)


def outcome_of(
    names: tuple[str, ...],
    results: Path,
    registry: Registry,
    plugins: PluginSelection,
    *,
    spawn: bool = False,
) -> SimpleNamespace:
    observer = Quiet()
    records = run(results, registry, plugins, observer, spawn=spawn, models=names)
    return SimpleNamespace(
        results=results,
        beats=observer.beats,
        records=dict(zip(names, records, strict=True)),
        folder=ResultsDir(results),
    )


def attempt_of(outcome: SimpleNamespace, name: str) -> AttemptDir:
    attempts: list[AttemptDir] = outcome.folder.attempts(outcome.records[name].job.job_id)
    return attempts[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("fake-gaussian", "ok", None),
        ("fake-gan", "ok", None),
        ("fake-crash", "crashed", "ValueError: this model breaks in its loss"),
        ("fake-diverge", "diverged", None),
        ("fake-oom", "oom", "tried to allocate 4 TiB"),
        ("fake-die", "killed", "the worker was killed by signal 9, last heard of while"),
    ],
)
def test_every_end_has_its_status_and_reason(
    every_end: SimpleNamespace, name: str, status: str, reason: str | None
) -> None:
    record = every_end.records[name]
    if name == "fake-diverge":  # fewer steps than it takes to give up
        assert record.status == "ok"
        assert record.skipped_steps == 16
        return
    assert record.status == status
    assert reason is None or reason in record.reason


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="forks under Linux alone")
def test_spawned_workers_do_the_same_in_processes_of_the_same_kind(
    every_end: SimpleNamespace,
    fake_registry: Registry,
    fake_plugins: PluginSelection,
    tmp_path: Path,
) -> None:
    names = ("fake-gaussian", "fake-facts", "fake-crash", "fake-die")
    spawned = outcome_of(names, tmp_path, fake_registry, fake_plugins, spawn=True)
    for name in names:
        ends = [ran.records[name] for ran in (every_end, spawned)]
        assert ends[0].status == ends[1].status
        assert (ends[0].reason or "")[:40] == (ends[1].reason or "")[:40]
    forked_facts, spawned_facts = (facts_of(ran) for ran in (every_end, spawned))
    assert forked_facts == spawned_facts
    forked_left, spawned_left = (what_is_left(ran) for ran in (every_end, spawned))
    assert forked_left == spawned_left


def facts_of(outcome: SimpleNamespace) -> dict[str, Any]:
    """What a worker said of its process; where its results are is no part of that."""
    log = (attempt_of(outcome, "fake-facts").path / LOG).read_text()
    (line,) = [one for one in log.splitlines() if one.startswith("{")]
    facts: dict[str, Any] = json.loads(line.replace(str(outcome.results), "RESULTS"))
    # The last two are set by scikit-learn, which a fork has imported.
    for name in ("PYTEST_CURRENT_TEST", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"):
        facts["environment"].pop(name, None)
    facts["seen from outside"] = [
        one for one in facts["seen from outside"] if not one.startswith("PYTEST_CURRENT_TEST")
    ]
    return facts


def what_is_left(outcome: SimpleNamespace) -> tuple[Any, ...]:
    """Weights, log-likelihoods, samples, curve and values of a finished job, bit for bit."""
    attempt = attempt_of(outcome, "fake-gaussian")
    files = read_attempt(attempt.path)
    assert files.log_prob is not None
    state = torch.load(attempt.path / MODEL, weights_only=True)["model"]
    return (
        {name: tensor.tolist() for name, tensor in state.items()},
        files.log_prob.tolist(),
        np.load(attempt.path / "samples.npz")["x"].tolist(),
        [(point.step, point.loss, point.bpd) for point in files.curves],
        {m.name: m.value for m in files.record.measurements},
    )


@pytest.mark.slow
def test_a_thread_that_a_model_leaves_at_work_holds_nothing_up(every_end: SimpleNamespace) -> None:
    assert every_end.records["fake-linger"].status == "ok"
    assert "threads still at work: lingerer" in attempt_of(every_end, "fake-linger").log_tail()


@pytest.mark.slow
def test_the_observer_hears_where_a_worker_ended(outcome: SimpleNamespace) -> None:
    assert ("fake-gaussian", 20) in outcome.beats


@pytest.mark.slow
def test_the_traceback_of_a_crash_is_kept(outcome: SimpleNamespace) -> None:
    assert "this model breaks in its loss" in outcome.records["fake-crash"].log_tail
    assert "Traceback" in attempt_of(outcome, "fake-crash").log_tail()


@pytest.mark.parametrize("fixture", ["outcome", "every_end"])
@pytest.mark.slow
def test_the_store_has_every_attempt(request: pytest.FixtureRequest, fixture: str) -> None:
    ran: SimpleNamespace = request.getfixturevalue(fixture)
    stored = {row["model"]: row["status"] for row in list_attempts(ran.results)}
    assert stored == {name: record.status for name, record in ran.records.items()}


@pytest.mark.slow
def test_a_finished_attempt_is_complete(outcome: SimpleNamespace) -> None:
    attempt = attempt_of(outcome, "fake-gaussian")
    names = {path.name for path in attempt.path.iterdir()}
    assert {"record.json", "curves.jsonl", "likelihoods.npz", "samples.npz", "artifacts"} <= names
    assert {"log.txt", MODEL, ORDER} <= names
    assert CHECKPOINT not in names
    assert not [name for name in names if name.endswith(".part")]
    assert len(np.load(attempt.path / "likelihoods.npz")["test"]) == 60
    assert len(read_attempt(attempt.path).curves) > 2


@pytest.mark.slow
def test_the_record_says_what_ran_and_on_what(outcome: SimpleNamespace) -> None:
    record = outcome.records["fake-gaussian"]
    assert record.steps == 20
    assert record.num_parameters == 32
    assert record.num_threads == max(1, len(os.sched_getaffinity(0)) // 2)
    assert record.device_kind == "cpu"
    assert record.provenance["versions"]["torch"]
    assert str(FAKES) in record.provenance["plugins"]
    assert record.likelihood["draws"] == 16


@pytest.mark.slow
def test_a_check_of_the_same_code_has_the_hash_of_the_record(
    outcome: SimpleNamespace, tmp_path: Path
) -> None:
    registry = load_registry(PluginSelection(files=(FAKES,)))
    keep(
        registry,
        CheckReport(kind="model", name="fake-gaussian", plugin=str(FAKES), results=()),
        tmp_path,
    )
    with readable(tmp_path) as folder:
        (check,) = latest_checks(folder)
    assert outcome.records["fake-gaussian"].model_code_sha256 == check.code_sha256


@pytest.mark.slow
def test_the_ledger_covers_the_wall_time(outcome: SimpleNamespace) -> None:
    record = outcome.records["fake-gaussian"]
    assert sum(record.ledger.values()) == pytest.approx(record.wall_s)
    assert record.ledger["other"] < 0.02 * record.wall_s
    charged = sum(record.ledger[part] for part in ("setup", "compile", "data", "train"))
    assert record.charged_s == pytest.approx(charged)


@pytest.mark.slow
def test_a_failed_metric_costs_the_others_nothing(outcome: SimpleNamespace) -> None:
    values = {m.name: m for m in outcome.records["fake-gaussian"].measurements}
    assert values["fake_nll"].status == "ok"
    assert (values["fake_nll"].label, values["fake_nll"].role) == ("fake nll", "quality")
    assert values["fake_failure"].status == "failed"
    assert "RuntimeError: this metric breaks" in values["fake_failure"].reason
    assert (values["fake_nan"].value, values["fake_nan"].status) == (None, "failed")


@pytest.mark.slow
def test_a_model_without_a_likelihood_says_so(every_end: SimpleNamespace) -> None:
    values = {m.name: m for m in every_end.records["fake-gan"].measurements}
    assert values["fake_nll"].status == "unavailable"
    assert "no likelihood" in values["fake_nll"].reason


@pytest.mark.slow
def test_a_second_run_reuses_what_is_done(
    outcome: SimpleNamespace, fake_registry: Registry, fake_plugins: PluginSelection
) -> None:
    ready = ready_run(
        outcome.results, fake_registry, fake_plugins, models=("fake-gaussian", "fake-crash")
    )
    assert [d.action for _, d in ready.decisions] == ["reuse", "leave"]
    before = len(list_attempts(outcome.results))
    records = ready.scheduler(Quiet()).run(ready.decisions)
    assert {r.status for r in records.values()} == {"ok", "crashed"}
    assert len(list_attempts(outcome.results)) == before


@pytest.mark.slow
def test_a_trained_model_comes_back(
    outcome: SimpleNamespace, fake_plugins: PluginSelection
) -> None:
    job = outcome.records["fake-gaussian"].job
    trained = load_job(job.job_id, outcome.results, data_dir=Path(), plugins=fake_plugins)
    measured = np.load(attempt_of(outcome, "fake-gaussian").path / "likelihoods.npz")["test"]
    assert np.allclose(trained.likelihood("test").log_prob, measured)
    assert trained.samples().x.shape == (256, 1, 4, 4)
    assert not trained.model.training


@pytest.mark.slow
def test_loading_what_is_not_there(outcome: SimpleNamespace, fake_plugins: PluginSelection) -> None:
    outside = f"../runs/{outcome.records['fake-gaussian'].job.job_id}"
    for name in ("x", outside):
        with pytest.raises(StoreError, match="unknown job"):
            load_job(name, outcome.results, data_dir=Path(), plugins=fake_plugins)
    crashed = outcome.records["fake-crash"].job.job_id
    with pytest.raises(StoreError, match="kept trained weights"):
        load_job(crashed, outcome.results, data_dir=Path(), plugins=fake_plugins)


@pytest.mark.slow
def test_an_interrupt_saves_and_the_next_run_goes_on(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path
) -> None:
    suite = {"models": ("fake-slow",), "budget": "60steps", "metrics": ("fake_nll",)}
    ready = ready_run(tmp_path, fake_registry, fake_plugins, **suite)
    observer = Quiet()
    scheduler = ready.scheduler(observer)
    when(lambda: any(step >= 5 for _, step in observer.beats), scheduler.interrupt)
    with pytest.raises(KeyboardInterrupt):
        scheduler.run(ready.decisions)
    (first,) = list_attempts(tmp_path)
    assert first["status"] == "preempted"
    assert 0 < first["steps"] < 60
    ready = ready_run(tmp_path, fake_registry, fake_plugins, **suite)
    assert [d.action for _, d in ready.decisions] == ["resume"]
    (record,) = ready.scheduler(Quiet()).run(ready.decisions).values()
    assert (record.status, record.steps, record.number) == ("ok", 60, 2)
    assert record.ledger["train"] >= 60 * 0.05


@pytest.mark.slow
def test_a_second_interrupt_does_not_wait_for_a_worker(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path
) -> None:
    ready = ready_run(tmp_path, fake_registry, fake_plugins, models=("fake-hang",), budget="60s")
    observer = Quiet()
    scheduler = ready.scheduler(observer)
    ((job, _),) = ready.decisions
    attempts = ResultsDir(tmp_path).attempts
    # Up to its first step a worker still hears the first interrupt, and ends by it.
    when(
        lambda: any("hangs" in a.log_tail() for a in attempts(job.row.job_id)), scheduler.interrupt
    )
    when(lambda: observer.stopped == [1], scheduler.interrupt)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        scheduler.run(ready.decisions)
    assert time.monotonic() - begun < KILL_AFTER_S
    (attempt,) = list_attempts(tmp_path)
    assert (attempt["status"], attempt["reason"]) == ("killed", "the run was interrupted twice")


@pytest.mark.slow
def test_a_job_that_holds_too_much_memory_is_ended_alone(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path
) -> None:
    names = ("fake-hungry", "fake-greedy", "fake-gaussian")
    ready = ready_run(tmp_path, fake_registry, fake_plugins, models=names, budget="20steps")
    assert ready.options.max_rss is not None  # its share, which tests do not reach
    ready = replace(ready, options=replace(ready.options, max_rss=1200 * 10**6))
    found = ready.scheduler(Quiet()).run(ready.decisions).values()
    records = {record.job.model: record for record in found}
    hungry, greedy = records["fake-hungry"], records["fake-greedy"]
    assert hungry.status == greedy.status == "oom"
    assert hungry.reason is not None
    assert "more than --max-rss (1.2 GB) allows; at its peak it held" in hungry.reason
    assert hungry.load is not None
    assert (hungry.load["peak_resident_bytes"] or 0) > 1200e6
    assert greedy.reason is not None
    assert "can't allocate memory" in greedy.reason
    assert "; at its peak the process held " in greedy.reason
    assert greedy.load is not None
    assert greedy.load["peak_resident_bytes"] is not None
    assert records["fake-gaussian"].status == "ok"


@pytest.mark.slow
def test_a_metric_that_takes_the_worker_with_it_takes_no_other_value(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path
) -> None:
    suite: dict[str, Any] = {"models": ("fake-gaussian",)}
    (record,) = run(
        tmp_path, fake_registry, fake_plugins, **suite, metrics=("fake_nll", "fake_segfault")
    )
    assert record.status == "crashed"
    assert record.reason is not None
    assert record.reason.startswith("the worker ended by SIGSEGV")
    nll, segfault = record.measurements
    assert (nll.name, nll.status) == ("fake_nll", "ok")
    assert (segfault.name, segfault.status) == ("fake_segfault", "failed")
    assert segfault.reason == "the worker died while it was measured"
    (attempt,) = ResultsDir(tmp_path).attempts(record.job.job_id)
    assert (attempt.path / MODEL).exists()


@pytest.mark.slow
def test_a_module_where_the_user_is_stands_in_for_none_of_pythons(
    fake_registry: Registry,
    fake_plugins: PluginSelection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("statistics", "random", "torch", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not the one meant')")
    monkeypatch.chdir(tmp_path)
    (record,) = run(tmp_path / "r", fake_registry, fake_plugins, models=("fake-gaussian",))
    assert (record.status, record.reason) == ("ok", None)


@pytest.mark.slow
def test_a_job_is_cancelled_from_another_terminal_and_goes_on_later(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path
) -> None:
    suite = {"models": ("fake-slow", "fake-gaussian"), "budget": "120steps"}
    ready = ready_run(tmp_path, fake_registry, fake_plugins, **suite, metrics=("fake_nll",))
    observer = Quiet()
    when(
        lambda: any(beat[0] == "fake-slow" and beat[1] >= 5 for beat in observer.beats),
        lambda: cancel(tmp_path, ["fake-slow"]),
    )
    slow, other = ready.scheduler(observer).run(ready.decisions).values()
    if slow.job.model != "fake-slow":
        slow, other = other, slow
    assert (slow.status, slow.reason) == ("preempted", "cancelled by flowbench cancel")
    assert 0 < slow.steps < 120
    assert other.status == "ok"
    ready = ready_run(tmp_path, fake_registry, fake_plugins, **suite, metrics=("fake_nll",))
    assert [d.action for _, d in ready.decisions] == ["resume", "reuse"]


def when(condition: Callable[[], bool], act: Callable[[], object]) -> None:
    """Does something as soon as a condition holds."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        act()

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.slow
def test_a_worker_past_its_budget_is_stopped(
    fake_registry: Registry,
    fake_plugins: PluginSelection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flowbench.runner.watchdog.GRACE_S", 0.5)
    monkeypatch.setattr(slots, "KILL_AFTER_S", 0.5)
    (record,) = run(tmp_path, fake_registry, fake_plugins, models=("fake-hang",), budget="0.5s")
    assert record.status == "timeout"
    assert record.reason is not None
    assert "of a budget of" in record.reason


def test_an_attempt_whose_process_is_gone_is_recorded(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path
) -> None:
    ready = ready_run(tmp_path, fake_registry, fake_plugins, models=("fake-gaussian",))
    (job, _), folder = ready.decisions[0], ResultsDir(tmp_path)
    attempt = folder.new_attempt(job.row.job_id)
    attempt.write("heartbeat.json", json.dumps({"pid": 1, "step": 7, "beat": 0.0}))
    again = ready_run(tmp_path, fake_registry, fake_plugins, models=("fake-gaussian",))
    assert again.decisions[0][1].action == "run"
    (stored,) = list_attempts(tmp_path)
    assert (stored["status"], stored["steps"]) == ("killed", 7)


@pytest.fixture
def taken(fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path) -> Claim:
    """A job that another run is at work on: another open file is another owner to the system."""
    ready = ready_run(tmp_path, fake_registry, fake_plugins, models=("fake-gaussian",))
    job_id = ready.decisions[0][0].row.job_id
    other = Owner(host="far", boot=Owner.of_this_process(started="").boot, pid=7, started="noon")
    found = claim(ready.results.runs / job_id, other)
    assert isinstance(found, Claim)
    found.begins(ready.results.new_attempt(job_id).number)
    return found


def test_a_job_that_is_running_elsewhere_is_named_and_left(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path, taken: Claim
) -> None:
    ready = ready_run(tmp_path, fake_registry, fake_plugins, models=("fake-gaussian",))
    ((job, decision),) = ready.decisions
    assert decision == Decision(action="wait", why="running elsewhere (far, pid 7, since noon)")
    scheduler = ready.scheduler(Quiet())
    scheduler._options = replace(ready.options, wait=False)
    assert scheduler.run(ready.decisions) == {}
    assert scheduler.decided[job.row.job_id] == (job, decision)
    assert len(ready.results.attempts(job.row.job_id)) == 1
    taken.release()
    assert owner_of(ready.results.runs / job.row.job_id) is None


@pytest.mark.slow
def test_a_job_that_another_run_gives_up_is_run(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path, taken: Claim
) -> None:
    ready = ready_run(tmp_path, fake_registry, fake_plugins, models=("fake-gaussian",))
    observer = Quiet()
    threading.Timer(1.0, taken.release).start()
    (record,) = ready.scheduler(observer).run(ready.decisions).values()
    assert (record.status, record.number) == ("ok", 2)
    assert "waiting for it (--no-wait leaves it)" in observer.warnings[0]
    with readable(tmp_path) as folder:
        assert [a["status"] for a in list_attempts(folder)] == ["killed", "ok"]


def test_a_long_evaluation_is_told_once_of_each_model_and_dataset(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path
) -> None:
    names = ("fake-gaussian", "fake-gan")
    suite = {"models": names, "seeds": (0, 1), "budget": "20s"}
    ready = ready_run(tmp_path, fake_registry, fake_plugins, **suite)
    watcher = Quiet()
    scheduler = ready.scheduler(watcher)
    heartbeat = Heartbeat(pid=1, evaluation_s=300.0, evaluation_draws=16)
    for job, _ in ready.decisions:
        active: Any = SimpleNamespace(job=job, order=SimpleNamespace(num_devices=1))
        scheduler._slots._foresee(active, heartbeat.model_copy(update={"evaluation_s": None}))
        scheduler._slots._foresee(active, heartbeat)
    told = [line.partition(":images on fake-images: to evaluate ")[0] for line in watcher.warnings]
    assert told == list(names)


def test_what_was_measured_before_is_measured_again_and_nothing_else(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path
) -> None:
    ready = ready_run(
        tmp_path, fake_registry, fake_plugins, models=("fake-gaussian",), metrics=("fake_nll",)
    )
    ((job, _),) = ready.decisions
    before, attempt = (ResultsDir(tmp_path).new_attempt(job.row.job_id) for _ in range(2))
    rung = {"rung": "temperature=0.5"}
    rows = (
        make.measured("fake_spread", 1.0, ""),
        make.measured(
            "fake_spread [temperature=0.5]", 1.0, "", metric="fake_spread", protocol=rung
        ),
        make.measured(
            "info/sample/sweeps", 3.0, ""
        ),  # of the model itself: no metric has that name
        make.measured("fake_nan", None, "", status="failed"),
    )
    before.write_record(make.attempt(job.row, measurements=rows))
    again = Decision(action="evaluate", why="", source=before)
    slot = Slot(index=0, num_threads=1)
    order = ready.scheduler(Quiet())._order(job, again, attempt, slot)
    assert order.metrics == ("fake_nll", "fake_spread")
    assert order.ladder


def test_what_cannot_run_is_stored_with_its_reason(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path
) -> None:
    ready = ready_run(tmp_path, fake_registry, fake_plugins, models=("fake-gaussian",))
    job, _ = ready.decisions[0]
    skipped = [(replace(job, unsupported="x"), Decision(action="skip", why="needs audio"))]
    for _ in range(2):
        ready.scheduler(Quiet()).run(skipped)
    (stored,) = list_attempts(tmp_path)
    assert (stored["status"], stored["reason"]) == ("skipped", "needs audio")


def test_a_results_folder_that_cannot_be_written(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(StoreError, match=r"cannot write to the results folder .*--results DIR"):
        ready_run(blocked, fake_registry, fake_plugins, models=("fake-gaussian",))


def test_a_corrupt_database_keeps_nobody_from_running(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path
) -> None:
    (tmp_path / "flowbench.duckdb").write_bytes(b"not a database" * 1000)
    ready = ready_run(tmp_path, fake_registry, fake_plugins, models=("fake-gaussian",))
    (note,) = ready.notes
    assert "is kept as flowbench.duckdb.damaged-1" in note
