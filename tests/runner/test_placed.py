"""Jobs in a queue that outlives the run: given once, followed by any run, taken back."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from flowbench.api import JobState
from flowbench.errors import ConfigError, ExecutorError, UnknownNameError
from flowbench.registry import PluginSelection, Registry, load_registry
from flowbench.runner import followed, schedule
from flowbench.runner.attempt import HEARTBEAT, AttemptDir, Heartbeat, Placement, ResultsDir
from flowbench.runner.plan import Job
from flowbench.runner.run import ReadyRun, RunRequest, get_ready
from flowbench.runner.survey import cancel, survey
from flowbench.store.records import AttemptRow
from flowbench.suite.schema import Suite
from tests.runner.queues import FakeQueue
from tests.runner.test_schedule import Quiet
from tests.store import attempts as make

QUEUES = Path(__file__).parent / "queues.py"
ENDED = JobState(phase="ended", why="FAILED")


class Watcher(Quiet):
    """Keeps where jobs were told to stand."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def placed(self, job: Job, placement: Placement, state: JobState | None) -> None:
        self.told.append(f"{placement}: {state.phase if state else 'no answer'}")

    def started(self, job: Job, attempt: AttemptDir, num_threads: int) -> None:
        self.told.append(f"attempt {attempt.number} runs")


@pytest.fixture(scope="module")
def plugins(fake_plugins: PluginSelection) -> PluginSelection:
    return dataclasses.replace(fake_plugins, files=(*fake_plugins.files, QUEUES))


@pytest.fixture(scope="module")
def registry(plugins: PluginSelection) -> Registry:
    return load_registry(plugins)


@pytest.fixture
def queue(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> type[FakeQueue]:
    """The executor as the plugin door imported it, with nothing in its queue."""
    registry.executor("fake-queue").resolve("queues:FakeQueue")
    found: type[FakeQueue] = sys.modules["queues"].FakeQueue
    for name, value in (("given", []), ("states", {}), ("cancelled", []), ("refusal", "")):
        monkeypatch.setattr(found, name, value)
    monkeypatch.setattr(found, "goes_on", lambda job: None)
    for module, name in (
        (schedule, "POLL_S"),
        (schedule, "LOOK_EVERY_S"),
        (followed, "LOOK_EVERY_S"),
        (followed, "SETTLE_S"),
    ):
        monkeypatch.setattr(module, name, 0.001)
    return found


def ready(results: Path, registry: Registry, plugins: PluginSelection, **more: Any) -> ReadyRun:
    models = more.pop("models", ("fake-gaussian",))
    asked: dict[str, Any] = {
        "suites": (Suite(models=models, datasets=("fake-images",), budget="20steps"),),
        "results": results,
        "data_dir": results,
        "plugins": plugins,
        "device": "auto",
        "num_jobs": None,
        "executor": "fake-queue",
        "executor_options": {"room": "3"},
        "rerun": None,
        "timeout_s": 600.0,
        "command": ("flowbench", "run"),
    }
    return get_ready(RunRequest(**asked | more), registry)


def run(ready: ReadyRun, watcher: Watcher | None = None) -> list[AttemptRow]:
    records = ready.scheduler(watcher or Watcher()).run(ready.decisions)
    return [records[job.row.job_id] for job, _ in ready.decisions]


def end(attempt: AttemptDir, status: Any = "ok", **fields: Any) -> None:
    """Writes the record of a worker."""
    job = attempt.order().job
    code = attempt.code()
    assert code is not None
    columns = {"model_code": code.model, "dataset_code": code.dataset, "core_code": code.core}
    record = make.attempt(job, attempt.number, status=status, measurements=(), **fields)
    attempt.write_record(record.model_copy(update=columns))


def given(queue: type[FakeQueue]) -> list[AttemptDir]:
    return [AttemptDir(path) for folders in queue.given for path in folders]


def end_all(queue: type[FakeQueue], **fields: Any) -> None:
    for attempt in given(queue):
        if not attempt.ended:
            end(attempt, **fields)


def begin(attempt: AttemptDir) -> None:
    attempt.write(HEARTBEAT, Heartbeat(pid=1, phase="training").model_dump_json())


def begin_again(first: AttemptDir) -> AttemptDir:
    """The next start of an order, as `flowbench worker` makes it."""
    order = first.order()
    attempt = ResultsDir(first.path.parents[2]).new_attempt(order.job.job_id)
    code, placement = first.code(), first.placement()
    assert code is not None
    assert placement is not None
    again = order.model_copy(update={"number": attempt.number, "start_of": first.number})
    attempt.write("job.json", again.model_dump_json())
    attempt.write("placed.json", placement.model_dump_json())
    attempt.write_code(code)
    return attempt


def test_all_jobs_are_given_at_once_with_what_they_need(
    tmp_path: Path,
    registry: Registry,
    plugins: PluginSelection,
    queue: type[FakeQueue],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLOWBENCH_WEIGHTS", "/weights")
    queue.goes_on = lambda _: end_all(queue)
    watcher = Watcher()
    records = run(ready(tmp_path, registry, plugins, models=("fake-gaussian", "fake-gan")), watcher)
    assert [record.status for record in records] == ["ok", "ok"]
    ((first, second),) = queue.given
    order = AttemptDir(first).order()
    assert (order.weights, order.device, order.num_threads) == ("/weights", "auto", 0)
    assert order.executor == "fake-queue room=3"
    assert order.unattended is not None
    assert order.unattended.timeout_s == 600.0
    placement = AttemptDir(second).placement()
    assert placement == Placement(executor="fake-queue", options={"room": "3"}, job="1_1")
    assert watcher.told[:2] == ["fake-queue job 1_0: waiting", "fake-queue job 1_1: waiting"]


def test_what_is_done_is_not_given_again(
    tmp_path: Path, registry: Registry, plugins: PluginSelection, queue: type[FakeQueue]
) -> None:
    told = {"provenance": {"executor": "fake-queue room=3"}}
    queue.goes_on = lambda _: end_all(queue, **told)
    budget = Suite(models=("fake-gaussian",), datasets=("fake-images",), budget="9s")
    for _ in range(2):
        assert run(ready(tmp_path, registry, plugins, suites=(budget,)))[0].status == "ok"
    assert len(queue.given) == 1
    # Seconds buy other steps where something else is asked for.
    ((_, elsewhere),) = ready(
        tmp_path, registry, plugins, suites=(budget,), executor_options={}
    ).decisions
    assert elsewhere.action == "run"


def test_an_interrupted_run_leaves_jobs_there_and_the_next_follows_them(
    tmp_path: Path, registry: Registry, plugins: PluginSelection, queue: type[FakeQueue]
) -> None:
    left = ready(tmp_path, registry, plugins)
    scheduler = left.scheduler(Watcher())
    queue.goes_on = lambda _: scheduler.interrupt()
    with pytest.raises(KeyboardInterrupt):
        scheduler.run(left.decisions)
    queue.goes_on = lambda _: None
    again = ready(tmp_path, registry, plugins, executor="local", executor_options={})
    watcher = Watcher()
    ((_, decision),) = again.decisions
    assert (decision.action, decision.why) == ("wait", "in the queue as fake-queue job 1_0")
    queue.goes_on = lambda _: end_all(queue)
    assert run(again, watcher)[0].status == "ok"
    assert len(queue.given) == 1


def test_a_job_that_is_begun_again_is_followed_to_its_end(
    tmp_path: Path, registry: Registry, plugins: PluginSelection, queue: type[FakeQueue]
) -> None:
    steps = iter(range(100))

    def goes_on(job: str) -> None:
        (first,) = given(queue)
        match next(steps):
            case 2:
                queue.states[job] = JobState(phase="running")
                begin(first)
            case 5:
                queue.states[job] = JobState(phase="waiting", why="BeginTime")
                end(first, "preempted", reason="asked to stop")
            case 7:  # another run plans meanwhile
                ((_, decision),) = ready(tmp_path, registry, plugins).decisions
                assert decision.action == "wait"
            case 9:
                begin(begin_again(first))
            case 12:
                end(AttemptDir(first.path.parent / "2"))

    queue.goes_on = goes_on
    watcher = Watcher()
    (record,) = run(ready(tmp_path, registry, plugins), watcher)
    assert (record.status, record.number, len(queue.given)) == ("ok", 2, 1)
    told = list(dict.fromkeys(watcher.told))
    waits = "fake-queue job 1_0: waiting"
    assert told == [waits, "attempt 1 runs", "attempt 2 runs"]
    assert watcher.told.index("attempt 2 runs") > watcher.told.index("attempt 1 runs") + 1


@pytest.mark.parametrize("begun", [False, True])
def test_a_job_that_leaves_the_queue_without_a_record_gets_one(
    tmp_path: Path,
    registry: Registry,
    plugins: PluginSelection,
    queue: type[FakeQueue],
    begun: bool,
) -> None:
    def goes_on(job: str) -> None:
        queue.states[job] = ENDED
        if begun:
            begin(given(queue)[0])

    queue.goes_on = goes_on
    (record,) = run(ready(tmp_path, registry, plugins))
    assert record.status == "killed"
    assert record.reason == (
        "fake-queue job 1_0 ended without a record (FAILED); its log ends: job 1_0 is out of luck"
    )
    assert given(queue)[0].record() == record


def test_a_queue_that_does_not_answer_is_waited_for(
    tmp_path: Path, registry: Registry, plugins: PluginSelection, queue: type[FakeQueue]
) -> None:
    steps = iter(range(100))

    def goes_on(job: str) -> None:
        queue.states.pop(job, None)
        if next(steps) == 20:
            end(given(queue)[0])

    queue.goes_on = goes_on
    watcher = Watcher()
    assert run(ready(tmp_path, registry, plugins), watcher)[0].status == "ok"
    assert "fake-queue job 1_0: no answer" in watcher.told


def test_what_is_refused_leaves_nothing_behind(
    tmp_path: Path, registry: Registry, plugins: PluginSelection, queue: type[FakeQueue]
) -> None:
    queue.refusal = "fake-queue: no such room 3"
    refused = ready(tmp_path, registry, plugins)
    with pytest.raises(ExecutorError, match="no such room 3"):
        run(refused)
    (job, _) = refused.decisions[0]
    assert refused.results.attempts(job.row.job_id) == []
    queue.refusal = ""
    queue.goes_on = lambda _: end_all(queue)
    assert run(ready(tmp_path, registry, plugins))[0].status == "ok"


def test_no_wait_gives_jobs_away_and_names_them(
    tmp_path: Path, registry: Registry, plugins: PluginSelection, queue: type[FakeQueue]
) -> None:
    left = ready(tmp_path, registry, plugins, wait=False)
    scheduler = left.scheduler(Watcher())
    assert scheduler.run(left.decisions) == {}
    ((_, decision),) = scheduler.decided.values()
    assert decision.why == "in the queue as fake-queue job 1_0"
    assert len(queue.given) == 1


@pytest.mark.parametrize("followed", [False, True])
def test_a_waiting_job_is_cancelled_whether_or_not_a_run_follows_it(
    tmp_path: Path,
    registry: Registry,
    plugins: PluginSelection,
    queue: type[FakeQueue],
    followed: bool,
) -> None:
    first = ready(tmp_path, registry, plugins, wait=followed)
    job_id = first.decisions[0][0].row.job_id

    def take_back(job: str) -> None:
        queue.goes_on = lambda _: None
        cancel(tmp_path, [job_id], first.placed)

    if followed:
        queue.goes_on = take_back
        (record,) = run(first)
    else:
        first.scheduler(Watcher()).run(first.decisions)
        assert [one.is_gone for one in survey(tmp_path, first.placed).under_way] == [False]
        take_back("")
        ready(tmp_path, registry, plugins)  # the next run takes it up
        found = given(queue)[0].record()
        assert found is not None
        record = found
    assert (record.status, record.reason) == ("preempted", "cancelled by flowbench cancel")
    assert queue.cancelled == ["1_0"]
    ((_, decision),) = ready(tmp_path, registry, plugins).decisions
    assert decision.action == "run"


def test_a_job_that_is_to_be_begun_again_is_under_way(
    tmp_path: Path, registry: Registry, plugins: PluginSelection, queue: type[FakeQueue]
) -> None:
    first = ready(tmp_path, registry, plugins, wait=False)
    first.scheduler(Watcher()).run(first.decisions)
    end(given(queue)[0], "preempted")
    (found,) = survey(tmp_path, first.placed).under_way
    assert (str(found.placement), found.heartbeat) == ("fake-queue job 1_0", None)
    queue.states["1_0"] = ENDED
    assert survey(tmp_path, first.placed).under_way == ()


def test_a_queue_that_cannot_be_asked_here_keeps_its_jobs(
    tmp_path: Path,
    registry: Registry,
    fake_plugins: PluginSelection,
    plugins: PluginSelection,
    fake_registry: Registry,
    queue: type[FakeQueue],
) -> None:
    first = ready(tmp_path, registry, plugins, wait=False)
    first.scheduler(Watcher()).run(first.decisions)
    # On a machine without that plugin.
    more: dict[str, Any] = {"executor": "local", "executor_options": {}, "wait": False}
    here = ready(tmp_path, fake_registry, fake_plugins, **more)
    assert here.decisions[0][1].action == "wait"
    scheduler = here.scheduler(Watcher())
    assert scheduler.run(here.decisions) == {}
    ((_, decision),) = scheduler.decided.values()
    assert "cannot be asked here: unknown executor 'fake-queue'" in decision.why
    # Until somebody says that it is no more.
    cancel(tmp_path, [here.decisions[0][0].row.job_id], here.placed)
    assert ready(tmp_path, fake_registry, fake_plugins, **more).decisions[0][1].action == "run"


def test_executors_are_known_by_name_and_say_which_options_they_know(
    tmp_path: Path, registry: Registry, plugins: PluginSelection, queue: type[FakeQueue]
) -> None:
    assert [*registry.executors][:2] == ["local", "slurm"]
    with pytest.raises(UnknownNameError, match="did you mean 'fake-queue'"):
        ready(tmp_path, registry, plugins, executor="fake-que")
    with pytest.raises(ConfigError, match="expected room"):
        ready(tmp_path, registry, plugins, executor_options={"rom": "1"})
    with pytest.raises(ConfigError, match="local takes no options, but was given partition"):
        ready(tmp_path, registry, plugins, executor="local", executor_options={"partition": "a"})
