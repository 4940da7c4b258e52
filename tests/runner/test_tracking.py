"""Trackers hear of a run what its observer hears, and cannot harm it."""

from __future__ import annotations

import json
import re
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from flowbench.api import TrackerSpec, hookimpl
from flowbench.api.trackers import JobOutcome, TrackedJob, TrackerSettings, Validation
from flowbench.errors import PluginLoadError, UnknownNameError
from flowbench.registry import PluginSelection, Registry, load_registry
from flowbench.runner.attempt import AttemptDir, Heartbeat
from flowbench.runner.tracking import make_trackers, tracked
from tests.store import attempts as make

PLUGIN = """
from flowbench.api import TrackerSpec, hookimpl
FLOWBENCH_API_VERSION = 2

class Tracker:
    def __init__(self, settings):
        self.told = settings.results / "told.txt"

    @hookimpl
    def job_ended(self, job, outcome):
        self.told.write_text(f"{job.label}: {outcome.status}")

@hookimpl
def register_trackers():
    return [TrackerSpec(name="to-a-file", tracker="a_tracker:Tracker", summary="one line")]
"""


class Watcher:
    """An observer that remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *said: self.told.append(" ".join([name, *map(str, said[-1:])]))


class Recorder:
    """A tracker that remembers its events."""

    def __init__(self, settings: TrackerSettings) -> None:
        self.events: list[tuple[str, Any]] = []
        made.append(self)

    @hookimpl
    def run_started(self, jobs: list[TrackedJob]) -> None:
        self.events.append(("run_started", [job.job_id for job in jobs]))

    @hookimpl
    def job_started(self, job: TrackedJob) -> None:
        self.events.append(("job_started", job))

    @hookimpl
    def validated(self, validation: Validation) -> None:  # without the job: it is not asked for
        self.events.append(("validated", validation))

    @hookimpl
    def job_ended(self, outcome: JobOutcome) -> None:
        self.events.append(("job_ended", outcome))

    @hookimpl
    def run_ended(self) -> None:
        self.events.append(("run_ended", None))


class Misspelt:
    def __init__(self, settings: TrackerSettings) -> None: ...

    @hookimpl
    def job_begun(self, job: TrackedJob) -> None: ...


class Silent:
    def __init__(self, settings: TrackerSettings) -> None: ...


class Failing(Recorder):
    @hookimpl
    def validated(self) -> None:  # type: ignore[override]
        raise OSError("no route to host")


class Slow(Recorder):
    """Waits at the start until a job has ended, as for a server that does not answer."""

    @hookimpl
    def run_started(self, jobs: list[TrackedJob]) -> None:
        assert job_has_ended.wait(60)
        super().run_started(jobs)


made: list[Recorder] = []
job_has_ended = threading.Event()
BLOCK, FULL, LAST = 32768, 1, 4


@pytest.fixture(autouse=True)
def nothing_made() -> None:
    made.clear()


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(PluginSelection(only=("flowbench:models",)))


def with_trackers(registry: Registry, **classes: str) -> Registry:
    own = next(iter(registry.trackers.values()))
    entries = {
        name: type(own)(TrackerSpec(name=name, tracker=f"{__name__}:{cls}", summary=""), own.source)
        for name, cls in classes.items()
    }
    return type(registry)(**{**vars(registry), "trackers": {**registry.trackers, **entries}})


def the_job() -> Any:
    row = make.job(preset="tiny")
    return SimpleNamespace(row=row, label="realnvp:tiny on digits, seed 0")


def drive(managers: Any, results: Path, watcher: Watcher) -> None:
    """A job with three looks, the last of which is seen only when it has ended."""
    job, points = the_job(), make.curve(2.0, points=2)
    record = make.attempt(job.row, measurements=make.measurements(2.5))
    folder = make.write(results, record, curves=points[:2])
    with tracked(watcher, managers, [job]) as observer:
        observer.started(job, AttemptDir(folder), 1)
        for _ in range(3):
            observer.beat(job, Heartbeat(pid=1))
        lines = (folder / "curves.jsonl").read_text("utf-8") + points[2].model_dump_json() + "\n"
        (folder / "curves.jsonl").write_text(lines, "utf-8")
        observer.ended(job, record)


def test_a_tracker_hears_each_event_once_and_in_order(registry: Registry, tmp_path: Path) -> None:
    some = with_trackers(registry, rec="Recorder")
    watcher = Watcher()
    drive(make_trackers(some, ["rec"], tmp_path), tmp_path, watcher)
    (recorder,) = made
    names = [name for name, _ in recorder.events]
    assert names == ["run_started", "job_started", *["validated"] * 3, "job_ended", "run_ended"]
    told = dict(recorder.events)
    assert told["run_started"] == [the_job().row.job_id]
    assert told["job_started"].attempt == 1
    assert told["job_started"].config["training"]["lr"] == 1e-3
    assert told["validated"].values["validation/bpd"] == make.curve(2.0, points=2)[2].bpd
    assert told["job_ended"].values["bpd"] == 2.5
    assert "gpu_hours" not in told["job_ended"].values  # it has no value
    assert [line.split()[0] for line in watcher.told] == ["started", *["beat"] * 3, "ended"]


def test_one_that_fails_is_left_out_with_a_word(registry: Registry, tmp_path: Path) -> None:
    some = with_trackers(registry, bad="Failing", good="Recorder")
    watcher = Watcher()
    drive(make_trackers(some, ["bad", "good"], tmp_path), tmp_path, watcher)
    bad, good = made
    assert [name for name, _ in bad.events] == ["run_started", "job_started"]
    assert [name for name, _ in good.events][-1] == "run_ended"
    said = [line for line in watcher.told if line.startswith("warn")]
    assert said == [
        "warn tracker bad failed at validated and is left out: OSError: no route to host"
    ]


def test_a_slow_one_holds_up_no_job_and_hears_everything(
    registry: Registry, tmp_path: Path
) -> None:
    class Ended(Watcher):
        def ended(self, *said: object) -> None:
            job_has_ended.set()

    job_has_ended.clear()
    watcher = Ended()
    drive(make_trackers(with_trackers(registry, it="Slow"), ["it"], tmp_path), tmp_path, watcher)
    (slow,) = made
    names = [name for name, _ in slow.events]
    assert names == ["run_started", "job_started", *["validated"] * 3, "job_ended", "run_ended"]
    assert [line for line in watcher.told if line.startswith("warn")] == []


def test_without_trackers_the_observer_is_told_directly(tmp_path: Path) -> None:
    watcher: Any = Watcher()
    with tracked(watcher, {}, []) as observer:
        assert observer is watcher


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        ("Misspelt", "job_begun"),
        ("Silent", "has none of the hooks"),
        ("Nowhere", "has no 'Nowhere'"),
    ],
)
def test_one_that_would_hear_nothing_is_refused(
    cls: str, message: str, registry: Registry, tmp_path: Path
) -> None:
    with pytest.raises(PluginLoadError, match=message):
        make_trackers(with_trackers(registry, it=cls), ["it"], tmp_path)


def test_an_unknown_tracker_is_named(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"tracker 'tensorbord'.*tensorboard"):
        make_trackers(registry, ["tensorbord"], tmp_path)


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_one_that_is_not_installed_says_what_to_install(
    name: str, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PluginLoadError, match=rf"pip install 'flowbench\[{name}\]'"):
        make_trackers(registry, [name], tmp_path)


def test_a_tracker_of_a_plugin_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a_tracker.py"
    path.write_text(PLUGIN, "utf-8")
    registry = load_registry(PluginSelection(only=("flowbench:models",), files=(path,)))
    drive(make_trackers(registry, ["to-a-file"], tmp_path), tmp_path, Watcher())
    assert (tmp_path / "told.txt").read_text() == "realnvp:tiny on digits, seed 0: ok"


def test_the_tracker_of_the_docs_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "python.md").read_text("utf-8")
    (block,) = re.findall(r"```python title=\"mlflow_tracker.py\"\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "mlflow_tracker.py"
    path.write_text(block, "utf-8")
    client = MagicMock()
    client.get_experiment_by_name.return_value = None
    monkeypatch.setitem(sys.modules, "mlflow", MagicMock(MlflowClient=lambda: client))
    registry = load_registry(PluginSelection(only=("flowbench:models",), files=(path,)))
    watcher = Watcher()
    drive(make_trackers(registry, ["mlflow"], tmp_path), tmp_path, watcher)
    assert [line for line in watcher.told if line.startswith("warn")] == []
    run = client.create_run.return_value.info.run_id
    points = make.curve(2.0, points=2)
    logged = [call.args[2] for call in client.log_metric.call_args_list]
    assert [v for v in logged if v in {p.bpd for p in points}] == [p.bpd for p in points]
    client.set_terminated.assert_called_once_with(run, "FINISHED")


@pytest.mark.slow
def test_tensorboard_reads_back_what_was_told(registry: Registry, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    drive(make_trackers(registry, ["tensorboard"], tmp_path), tmp_path, Watcher())
    (folder,) = (tmp_path / "tensorboard").glob("*/1")
    read = EventAccumulator(str(folder)).Reload()
    points = make.curve(2.0, points=2)
    curve = [(event.step, event.value) for event in read.Scalars("validation/bpd")]
    assert curve == [(point.step, pytest.approx(point.bpd)) for point in points]
    assert [event.value for event in read.Scalars("result/bpd")] == [2.5]
    (config,) = read.Tensors("config/text_summary")
    assert b'"clip_norm": null' in config.tensor_proto.string_val[0]


def wandb_records(file: Path) -> Iterator[Any]:
    """Records of a ``.wandb`` file: LevelDB's log format behind a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    data, at, parts = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = BLOCK - at % BLOCK
        if left < 7:  # a block's end too small for a header is padding
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)  # behind the checksum
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (FULL, LAST):
            record, parts = Record.FromString(parts), b""
            yield record


@pytest.mark.slow
def test_wandb_offline_reads_back_what_was_told(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    watcher = Watcher()
    drive(make_trackers(registry, ["wandb"], tmp_path), tmp_path, watcher)
    assert [line for line in watcher.told if line.startswith("warn")] == []
    (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    # Its own process writes the file, up to a record of the end.
    until = time.monotonic() + 60
    while time.monotonic() < until and not any(r.HasField("exit") for r in wandb_records(file)):
        time.sleep(0.05)
    history, summary = [], dict[str, Any]()
    for record in wandb_records(file):
        items = {
            (item.key or "/".join(item.nested_key)): json.loads(item.value_json)
            for part in (record.history.item, record.summary.update)
            for item in part
        }
        if record.WhichOneof("record_type") == "history":
            history.append((items["_step"], items["validation/bpd"]))
        elif record.WhichOneof("record_type") == "summary":
            summary |= items
    assert history == [(point.step, pytest.approx(point.bpd)) for point in make.curve(2.0, 2)]
    assert summary["bpd"] == 2.5
    assert summary["status"] == "ok"
