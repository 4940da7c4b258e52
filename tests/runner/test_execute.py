from __future__ import annotations

import math
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal, Protocol

import numpy as np
import pytest
import torch

from flowbench.api import DatasetInfo, DataSplits, Likelihood, MetricValue, ModelConfig, Split
from flowbench.api.protocol import MAX_SEED
from flowbench.api.specs import Modality
from flowbench.errors import StoreError
from flowbench.evaluation.harness import Harness
from flowbench.registry import PluginSelection, Registry, load_registry
from flowbench.registry.code import job_code
from flowbench.runner.attempt import (
    MODEL,
    ORDER,
    SAMPLES,
    AttemptDir,
    ResultsDir,
    WorkOrder,
)
from flowbench.runner.execute import execute
from flowbench.runner.load import load_job
from flowbench.runner.plan import plan
from flowbench.runner.train import Watch
from flowbench.runner.turnstile import Turnstile
from flowbench.runner.under_way import Attempt
from flowbench.runner.worker import run_attempt
from flowbench.store.attempt_files import CURVES, LIKELIHOODS, read_attempt
from flowbench.store.ingest import ingest
from flowbench.store.queries import attempt_contents, list_attempts
from flowbench.store.records import AttemptRow, CurvePoint
from flowbench.suite.schema import Suite
from flowbench.training.clock import Clock
from flowbench.training.observer import ValidationPoint

FAKES = Path(__file__).parent.parent / "fakes.py"
TRUE_FLOAT32 = {("ieee", "ieee", "ieee", False)}


class Begin(Protocol):
    """Makes an attempt at a job of fakes."""

    def __call__(self, resume: AttemptDir | None = None, **suite: Any) -> Attempt: ...


@pytest.fixture
def begin(fake_registry: Registry, tmp_path: Path) -> Iterator[Begin]:
    turnstile = Turnstile(tmp_path / "locks")

    def begin(resume: AttemptDir | None = None, **suite: Any) -> Attempt:
        given = {"models": ("fake-gaussian",), "budget": "2steps", "metrics": ("fake_nll",)}
        (job,), _ = plan(
            Suite(**{"datasets": ("fake-images",), **given, **suite}), fake_registry, tmp_path
        )
        directory = ResultsDir(tmp_path).new_attempt(job.row.job_id)
        order = WorkOrder(
            job=job.row,
            number=directory.number,
            metrics=job.metrics,
            ladder=bool(job.ladder),
            resume=None if resume is None else str(resume.path),
            device="cpu",
            num_threads=1,
            data_dir=str(tmp_path),
            plugins_excluded=("flowbench",),
            plugin_files=(str(FAKES),),
            spawned=0.0,
            spawned_utc="",
        )
        directory.write(ORDER, order.model_dump_json())
        pulse: Any = SimpleNamespace(now=lambda *_: None, within=lambda *_: None)
        return Attempt(order, directory, Clock(), turnstile, pulse, threading.Event())

    yield begin
    turnstile.close()


def precisions() -> tuple[object, ...]:
    """What CUDA may compute float32 products, convolutions and recurrent networks in; autocast."""
    cudnn: Any = torch.backends.cudnn
    kernels = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
    return (*(kernel.fp32_precision for kernel in kernels), torch.is_autocast_enabled("cpu"))


@pytest.fixture
def noted(fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[tuple[object, ...]]]:
    """The `precisions` under which methods of a model ran."""
    seen: dict[str, set[tuple[object, ...]]] = {}

    def noting(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
            mode = "training" if self.training else "evaluation"
            seen.setdefault(f"{method.__name__} in {mode}", set()).add(precisions())
            return method(self, *args, **kwargs)

        return run

    for name in ("initialize", "log_prob", "sample"):
        monkeypatch.setattr(fakes.Gaussian, name, noting(getattr(fakes.Gaussian, name)))
    return seen


@pytest.mark.parametrize(
    ("precision", "in_training"),
    [("tf32", ("tf32", "tf32", "tf32", False)), ("bf16", ("ieee", "ieee", "ieee", True))],
)
def test_all_but_training_steps_run_in_true_float32(
    begin: Begin,
    noted: dict[str, set[tuple[object, ...]]],
    precision: str,
    in_training: tuple[object, ...],
) -> None:
    before = precisions()
    execute(begin(overrides={"fake-gaussian.training.precision": precision}))
    assert noted == {
        "initialize in training": TRUE_FLOAT32,
        "log_prob in training": {in_training},
        "log_prob in evaluation": TRUE_FLOAT32,
        "sample in evaluation": TRUE_FLOAT32,
    }
    assert precisions() == before


def test_a_loaded_model_is_evaluated_in_true_float32(
    begin: Begin,
    fake_plugins: PluginSelection,
    noted: dict[str, set[tuple[object, ...]]],
    tmp_path: Path,
) -> None:
    attempt = begin(budget="1steps")
    execute(attempt)
    before = precisions()
    trained = load_job(attempt.job.job_id, tmp_path, data_dir=tmp_path, plugins=fake_plugins)
    noted.clear()
    trained.likelihood("test")
    trained.draw(2, seed=0)
    assert noted == {
        "log_prob in evaluation": TRUE_FLOAT32,
        "sample in evaluation": TRUE_FLOAT32,
    }
    assert precisions() == before


def test_trained_weights_are_measured_again_with_what_they_cost(begin: Begin) -> None:
    first = begin()
    execute(first)
    assert (first.directory.path / MODEL).is_file()
    again = begin(resume=first.directory)
    execute(again)
    same = ("steps", "examples", "skipped_steps", "weights", "best_step", "measurements")
    assert {name: first.known.get(name) for name in same} == {
        name: again.known.get(name) for name in same
    }
    assert again.known["steps"] == 2
    spent = first.clock.ledger()["train"]
    assert again.clock.ledger()["train"] >= spent > 0


@pytest.mark.parametrize("ladder", [False, True])
def test_samples_are_measured_along_the_ladder_where_that_is_asked(
    begin: Begin, ladder: bool
) -> None:
    attempt = begin(metrics=("fake_spread", "fake_heat"), ladder=ladder)
    execute(attempt)
    found = {m.name: m for m in attempt.known["measurements"] if not m.name.startswith("info/")}
    usual = {"fake_spread", "fake_spread_largest", "fake_heat"}
    if not ladder:
        assert found.keys() == usual
        return
    rungs = ["temperature=0.25", "temperature=0.5"]
    beside = {f"{name} [{rung}]" for name in ("fake_spread", "fake_heat") for rung in rungs}
    assert found.keys() == usual | beside
    spreads = [
        found[f"fake_spread{rung}"].value for rung in (f" [{rungs[0]}]", f" [{rungs[1]}]", "")
    ]
    assert spreads == sorted(spreads)
    assert len(set(spreads)) == 3
    assert [found[f"fake_heat [{rung}]"].value for rung in rungs] == [250.0, 500.0]
    assert [found[f"fake_heat [{rung}]"].protocol["rung"] for rung in rungs] == rungs
    assert found["fake_heat [temperature=0.5]"].role == "witness"  # no column of its own
    again = begin(resume=attempt.directory, metrics=("fake_spread",))
    assert again.job.job_id == attempt.job.job_id


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="no such statistics here")
def test_a_wait_for_a_core_is_kept_with_the_weights(begin: Begin) -> None:
    first = begin()
    first.clock.run_delay.seconds = 100.0
    assert (run_attempt(first).run_delay_s or 0.0) >= 100.0
    second = begin(resume=first.directory)
    assert (run_attempt(second).run_delay_s or 0.0) >= 100.0
    first = begin()
    first.clock.run_delay.seconds = None
    assert run_attempt(first).run_delay_s is None
    assert run_attempt(begin(resume=first.directory)).run_delay_s is None


def test_what_the_test_split_takes_is_foreseen_from_looks(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = begin(protocol={"eval_draws": 8}, budget="1steps")

    def score(*_: Any) -> float:
        attempt.clock._seconds["eval"] += 10.0
        return 0.0

    monkeypatch.setattr(Harness, "score", score)
    execute(attempt)
    sizes = attempt.known["data"]
    expected = 10.0 * 8 * sizes["num_test"] / sizes["num_validation"]
    assert attempt.pulse.evaluation_s == pytest.approx(expected, rel=0.01)
    assert attempt.pulse.evaluation_draws == 8


def test_the_validation_loss_chooses_weights_if_it_is_asked_to(begin: Begin) -> None:
    attempt = begin(overrides={"fake-gaussian.training.select": "loss"}, budget="40steps")
    record = run_attempt(attempt)
    assert record.looks is not None
    assert record.looks["selected_by"] == "loss"
    lines = (attempt.directory.path / CURVES).read_text(encoding="utf-8").splitlines()
    points = [CurvePoint.model_validate_json(line) for line in lines]
    losses = [(p.info or {})["validation_loss/raw"] for p in points]
    assert record.best_step == points[losses.index(min(losses))].step
    assert record.best_step > 0


@pytest.mark.parametrize("average", [0.75, None])
def test_the_record_holds_the_load_of_the_machine(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, average: float | None
) -> None:
    monkeypatch.setattr("flowbench.runner.worker.load_average", lambda: average)
    monkeypatch.setattr("flowbench.runner.worker.available_cores", lambda: (1, 3))
    monkeypatch.setattr("flowbench.runner.worker.cpu_quota", lambda: 1.5)
    expected = {"start": average, "end": average, "cores": os.cpu_count(), "usable": 2}
    for models, status in [("fake-gaussian", "ok"), ("fake-crash", "crashed")]:
        record = run_attempt(begin(models=(models,)))
        assert (record.status, record.load) == (status, expected | {"quota": 1.5})


@pytest.mark.slow  # torch's own compiler runs
def test_a_compiled_training_is_charged_for_compiling_and_reproducible(begin: Begin) -> None:
    overrides = {"fake-gaussian.training.compile": True}
    attempts = [begin(overrides=overrides, budget="3steps") for _ in range(2)]
    for attempt in attempts:
        execute(attempt)
    first, again = attempts
    assert first.known["steps"] == 3
    assert first.known["measurements"] == again.known["measurements"]
    ledger = first.clock.ledger()
    assert ledger["compile"] > ledger["train"] > 0


@pytest.mark.parametrize(
    ("seed", "protocol_seed", "of_noise"),
    [(0, 0, 0), (1, 0, 1), (2, 5, 7), (MAX_SEED, 0, MAX_SEED), (MAX_SEED, 3, 2)],
)
def test_every_seed_evaluates_with_its_own_noise(
    begin: Begin,
    fake_plugins: PluginSelection,
    tmp_path: Path,
    seed: int,
    protocol_seed: int,
    of_noise: int,
) -> None:
    attempt = begin(seeds=(seed,), protocol={"seed": protocol_seed})
    execute(attempt)
    assert attempt.job.protocol["seed"] == protocol_seed  # what was asked stays as it was asked
    loaded = load_job(attempt.job.job_id, tmp_path, data_dir=tmp_path, plugins=fake_plugins)
    assert loaded.samples().seed == of_noise
    with np.load(attempt.directory.path / LIKELIHOODS) as kept:
        assert np.array_equal(kept["test"], loaded.likelihood("test").log_prob)
    with np.load(attempt.directory.path / SAMPLES) as kept:
        assert np.array_equal(kept["x"], loaded.samples().x)


def test_what_a_seed_does_not_train_still_spreads_over_seeds(
    begin: Begin, fake_plugins: PluginSelection, tmp_path: Path
) -> None:
    untrained = {"fake-gaussian.training.lr": 1e-30, "fake-gaussian.training.init_examples": None}
    measured = []
    for seed in range(3):
        attempt = begin(seeds=(seed,), overrides=untrained)
        execute(attempt)
        loaded = load_job(attempt.job.job_id, tmp_path, data_dir=tmp_path, plugins=fake_plugins)
        measured.append(float(loaded.likelihood("test").log_prob.mean()))
        measured.append(float(loaded.samples().x.mean()))
    assert len(set(measured)) == 6


def test_the_record_names_what_has_no_spread(
    begin: Begin, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_a_constant(data_dir: Path) -> DataSplits:
        x = np.random.default_rng(1).normal(2.0, 3.0, size=(600, 2))
        x[:, 1] = 0.1
        return DataSplits(train=Split(x=x[:400]), test=Split(x=x[400:]))

    monkeypatch.setattr(fakes, "load_vectors", with_a_constant)
    standardised = {"fake-gaussian.preprocessing.bijections": [{"kind": "standardise"}]}
    first = begin(datasets=("fake-vectors",), overrides=standardised)
    execute(first)
    assert first.known["data"]["without_spread"] == "1 of 2 dims: 1"
    assert first.known["data"]["num_test"] == 200
    again = begin(resume=first.directory, datasets=("fake-vectors",), overrides=standardised)
    execute(again)
    assert again.known["data"] == first.known["data"]


def test_a_job_is_loaded_by_how_its_id_alone_begins(
    begin: Begin, tmp_path: Path, fake_plugins: PluginSelection
) -> None:
    first, second = begin(seeds=(0,), budget="1steps"), begin(seeds=(1,), budget="1steps")
    execute(first)
    begins = first.job.job_id[:-3]
    given: dict[str, Any] = {"data_dir": tmp_path, "plugins": fake_plugins}
    assert load_job(begins, tmp_path, **given).model.num_parameters() == 32
    with pytest.raises(StoreError, match="fits 2 jobs"):
        load_job("fake-gaussian", tmp_path, **given)
    with pytest.raises(StoreError, match="kept trained weights"):
        load_job(second.job.job_id, tmp_path, **given)


def test_a_failed_attempt_knows_how_far_it_came(begin: Begin) -> None:
    attempt = begin(models=("fake-crash",))
    with pytest.raises(ValueError, match="breaks in its loss"):
        execute(attempt)
    assert attempt.known["device_kind"] == "cpu"
    assert attempt.known["num_parameters"] == attempt.known["num_parameters_training"] == 32
    assert attempt.known["steps"] == 0
    assert "weights" not in attempt.known


def test_the_record_says_which_code_ran(begin: Begin) -> None:
    attempt = begin()
    execute(attempt)
    registry = load_registry(PluginSelection(files=(FAKES,)))
    code = job_code(registry, "fake-gaussian", "fake-images", ["fake_nll"])
    known = attempt.known
    assert (known["core_code"], known["model_code"]) == (code.core, code.model)
    assert (known["dataset_code"], known["code_sha256"]) == (code.dataset, code.of_all)
    assert {m.code for m in known["measurements"]} == {code.metrics["fake_nll"]}
    assert attempt.directory.code() == code


def test_what_goes_on_from_an_older_core_stays_as_old(begin: Begin) -> None:
    first = begin()
    execute(first)
    assert first.code is not None
    old = {**first.known, "core_code": "old"}
    row = AttemptRow(
        attempt_id="a-1", number=1, job=first.job, status="ok", started="", ended="", **old
    )
    first.directory.write_record(row)
    again = begin(resume=first.directory)
    execute(again)
    assert again.known["core_code"] == "old"
    assert again.known["model_code"] == first.known["model_code"]


@pytest.mark.parametrize(
    ("measure", "modality", "name", "value", "unit"),
    [
        ("discrete", "vector", "bpd", 2.0, "bpd"),
        ("discrete", "sequence", "bpd", 2.0, "bpc"),
        ("continuous", "vector", "nll", 8 * math.log(2), "nats"),
        ("noisy", "vector", "nll", 8 * math.log(2), "nats"),
    ],
)
def test_curves_hold_bits_only_of_a_discrete_likelihood(
    measure: Literal["discrete", "continuous", "noisy"],
    modality: Modality,
    name: str,
    value: float,
    unit: str,
    begin: Begin,
    fakes: ModuleType,
) -> None:
    class Measured(ModelConfig):
        def likelihood(self, data: DatasetInfo) -> Likelihood:
            return Likelihood(measure=measure)

    info = DatasetInfo(
        name="four",
        modality=modality,
        event_shape=(4,),
        levels=8,
        num_train=1,
        num_validation=1,
        num_test=1,
    )
    built: Any = SimpleNamespace(model=fakes.Gaussian(Measured(), info))
    point = ValidationPoint(
        step=1,
        examples=2,
        charged_s=1.0,
        progress=0.5,
        loss=math.inf,
        raw=8 * math.log(2),
        ema=None,
    )
    attempt = begin()
    Watch(attempt, built).validated(point)
    kept = CurvePoint.model_validate_json((attempt.directory.path / CURVES).read_bytes())
    assert getattr(kept, name) == pytest.approx(value)
    assert (kept.bpd is not None) == (measure == "discrete")
    assert kept.loss is None
    assert attempt.pulse.score == getattr(kept, name)
    assert attempt.pulse.score_unit == unit


class Unsaid(BaseException):
    def __str__(self) -> str:
        raise RuntimeError("no text")


ODD = (
    (ValueError("no file \udcff.png"), "ValueError: no file \ufffd.png"),
    (ValueError("a\x00b"), "ValueError: a\ufffdb"),
    (ExceptionGroup("g", [ValueError("a")]), "ExceptionGroup: g (1 sub-exception): ValueError: a"),
    (Unsaid(), "Unsaid: its text cannot be had, __str__ raised RuntimeError"),
    (SystemExit(0), "SystemExit: 0"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
)


@pytest.mark.parametrize(("odd", "reason"), ODD, ids=lambda value: type(value).__name__)
def test_whatever_a_model_raises_is_recorded_in_one_line(
    odd: BaseException,
    reason: str,
    begin: Begin,
    fakes: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(fakes.Gaussian, "initialize", _raising(odd))
    attempt = begin()
    record = run_attempt(attempt)
    assert (record.status, record.reason) == ("crashed", reason)
    attempt.directory.write_record(record)
    assert ingest(tmp_path, [attempt.directory.path]) == 1
    assert list_attempts(tmp_path)[0]["reason"] == reason


@pytest.mark.parametrize(("odd", "reason"), ODD, ids=lambda value: type(value).__name__)
def test_whatever_a_metric_raises_costs_that_metric_alone(
    odd: BaseException,
    reason: str,
    begin: Begin,
    fakes: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fakes, "compute_failure", _raising(odd))
    record = run_attempt(begin(metrics=("fake_nll", "fake_failure")))
    assert record.status == "ok"
    nll, broken = record.measurements
    assert (nll.status, broken.status, broken.reason) == ("ok", "failed", reason)


def _exits(*_: Any) -> None:
    os._exit(0)


def _changes_weights(trained: Any, *_: Any) -> list[Any]:
    with torch.no_grad():
        for parameter in trained.model.parameters():
            parameter.data += 1.0  # no version counter sees it
    return _value()


def _changes_a_buffer(trained: Any, *_: Any) -> list[Any]:
    trained.model.train()
    return _value()


def _changes_data(trained: Any, data: DataSplits, *_: Any) -> list[Any]:
    data.test.x[:] = 0
    return _value()


def _changes_samples(trained: Any, *_: Any) -> list[Any]:
    trained.samples().x[:] = 0
    return _value()


def _changes_likelihoods(trained: Any, *_: Any) -> list[Any]:
    trained.likelihood("test").log_prob[:] = 0
    return _value()


def _changes(change: Callable[[], object]) -> Callable[..., list[Any]]:
    def compute(*_: Any) -> list[Any]:
        change()
        return _value()

    return compute


def _value() -> list[Any]:
    return [MetricValue(name="fake_failure", value=1.0, unit="nats", direction="lower")]


HARMFUL: dict[str, tuple[Callable[..., Any], str]] = {
    "exit": (_exits, "SystemExit: os._exit(0)"),
    "weights": (_changes_weights, "it changed the model's weights or mode: put back"),
    "mode": (_changes_a_buffer, "it changed the model's weights or mode: put back"),
    "data": (_changes_data, "read-only"),
    "samples": (_changes_samples, "read-only"),
    "likelihoods": (_changes_likelihoods, "read-only"),
    "dtype": (_changes(lambda: torch.set_default_dtype(torch.float64)), "it changed torch's dtype"),
    "device": (_changes(lambda: torch.set_default_device("meta")), "it changed torch's device"),
    "grad": (_changes(lambda: torch.set_grad_enabled(not torch.is_grad_enabled())), "torch's grad"),
    "threads": (_changes(lambda: torch.set_num_threads(3)), "it changed torch's threads"),
    "precision": (
        _changes(lambda: torch.set_float32_matmul_precision("medium")),
        "it changed torch's precision of products",
    ),
    "folder": (_changes(lambda: os.chdir("/")), "it changed the working directory"),
    "errors": (_changes(lambda: np.seterr(all="raise")), "it changed NumPy's error handling"),
    "signal": (
        _changes(lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)),
        "it changed signal handlers",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HARMFUL)
def test_a_metric_harms_none_of_its_neighbours(
    name: str, begin: Begin, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    harmful, reason = HARMFUL[name]

    def compute_failure(*arguments: Any) -> Any:
        return harmful(*arguments)

    monkeypatch.setattr(fakes, "compute_failure", compute_failure)
    before = (Path.cwd(), torch.get_default_dtype(), np.geterr(), signal.getsignal(signal.SIGTERM))
    attempts = [begin(metrics=metrics) for metrics in (("fake_nll",), ("fake_failure", "fake_nll"))]
    alone, after = (run_attempt(attempt) for attempt in attempts)
    assert (alone.status, after.status) == ("ok", "ok")
    (harmed, unharmed), (expected,) = after.measurements, alone.measurements
    assert (harmed.status, harmed.value) == ("failed", None)
    assert reason in str(harmed.reason)
    assert unharmed.value == expected.value
    assert (attempts[1].directory.path / SAMPLES).exists()
    now = (Path.cwd(), torch.get_default_dtype(), np.geterr(), signal.getsignal(signal.SIGTERM))
    assert now == before


def test_a_metric_may_draw_from_generators_of_all(
    begin: Begin, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def compute_failure(*_: Any) -> list[Any]:
        seen.append((torch.rand(()).item(), np.random.rand(), random.random()))  # noqa: NPY002
        return _value()

    monkeypatch.setattr(fakes, "compute_failure", compute_failure)
    monkeypatch.setattr(fakes, "compute_nan", compute_failure)
    record = run_attempt(begin(metrics=("fake_failure", "fake_nan")))
    assert record.measurements[0].value == 1.0
    assert seen[0] == seen[1]  # the one's draws do not move the other's


@pytest.mark.parametrize("odd", [RuntimeError("no samples"), SystemExit(0), KeyboardInterrupt()])
def test_a_sampler_that_fails_costs_the_samples_alone(
    odd: BaseException, begin: Begin, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fakes.Gaussian, "sample", _raising(odd))
    attempt = begin()
    record = run_attempt(attempt)
    nll, samples = record.measurements
    assert (record.status, nll.status) == ("ok", "ok")
    assert (samples.name, samples.status, samples.value) == ("samples", "failed", None)
    assert type(odd).__name__ in str(samples.reason)
    assert (attempt.directory.path / LIKELIHOODS).exists()


def test_a_model_that_ends_its_process_ends_its_attempt(
    begin: Begin, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = os._exit
    monkeypatch.setattr(fakes.Gaussian, "loss", lambda *_: os._exit(7))
    record = run_attempt(begin())
    assert (record.status, record.reason) == ("crashed", "SystemExit: os._exit(7)")
    assert os._exit is end


def test_a_process_that_a_plugin_forks_ends_as_it_should(
    begin: Begin, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute_failure(*_: Any) -> list[Any]:
        child = os.fork()
        if child == 0:
            os._exit(5)
        value = float(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return [replace(_value()[0], value=value)]

    monkeypatch.setattr(fakes, "compute_failure", compute_failure)
    record = run_attempt(begin(metrics=("fake_failure",)))
    assert record.measurements[0].value == 5.0


def test_a_metric_that_does_not_import_or_returns_nothing_fails_alone(
    begin: Begin, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute_failure(*_: Any) -> None: ...

    monkeypatch.setattr(fakes, "compute_failure", compute_failure)
    record = run_attempt(begin(metrics=("fake_failure",)))
    assert "compute_failure returned None; return a list" in str(record.measurements[0].reason)
    compute_failure.__name__ = "compute_nothing"  # what the spec refers to
    record = run_attempt(begin(metrics=("fake_failure", "fake_nll")))
    assert [m.status for m in record.measurements] == ["failed", "ok"]
    assert "fakes has no 'compute_nothing'" in str(record.measurements[0].reason)


def _raising(odd: BaseException) -> Callable[..., None]:
    def compute_failure(*_: Any, **__: Any) -> None:
        raise odd

    return compute_failure


def test_what_a_model_says_of_its_work_is_kept(
    begin: Begin, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def with_info(name: str, **info: Callable[[torch.Tensor], torch.Tensor]) -> None:
        right = getattr(fakes.Gaussian, name)

        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            value = right(self, *args, **kwargs)
            return value, {key: say(value) for key, say in info.items()}

        monkeypatch.setattr(fakes.Gaussian, name, wrapped)

    with_info("log_prob", solver_steps=lambda v: torch.full((len(v),), 26.0))
    with_info("sample", sweeps=lambda _: torch.tensor(3))
    with_info("loss", twice=lambda v: 2 * v, bad=lambda v: v / 0)
    attempt = begin(budget="40steps")
    attempt.directory.write_record(run_attempt(attempt))
    contents = read_attempt(attempt.directory.path)
    values = {m.name: m for m in contents.record.measurements}
    kept = {name: (m.value, m.split, m.role) for name, m in values.items() if "info" in name}
    assert kept == {
        "info/solver_steps": (26.0, "test", "witness"),
        "info/sample/sweeps": (3.0, None, "witness"),
    }
    assert values["info/solver_steps"].n == len(attempt_likelihoods(attempt))
    first, *later = contents.curves
    assert later
    watched = {"round_trip", "round_trip_nonfinite", "log_determinant/all"}
    assert (first.info or {}).keys() == watched
    for point in later:
        assert point.loss is not None
        assert (point.info or {}).keys() == {"twice", "gradient_norm", *watched}
        assert (point.info or {})["twice"] == pytest.approx(2 * point.loss, rel=1e-5)
    ingest(tmp_path, [attempt.directory.path])
    (stored,) = attempt_contents(tmp_path, [contents.record.attempt_id])
    assert stored.curves == contents.curves


def attempt_likelihoods(attempt: Attempt) -> Any:
    with np.load(attempt.directory.path / LIKELIHOODS) as arrays:
        return arrays["test"]
