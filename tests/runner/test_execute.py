from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from flowbench.api import Likelihood
from flowbench.provenance import code_sha256
from flowbench.registry import PluginSelection, Registry, load_registry
from flowbench.runner.attempt import ORDER, ResultsDir, WorkOrder
from flowbench.runner.execute import Execution, Outcome, _Watch
from flowbench.runner.load import load_job
from flowbench.runner.plan import plan
from flowbench.runner.turnstile import Turnstile
from flowbench.suite.schema import Suite
from flowbench.training.clock import Clock
from flowbench.training.loop import ValidationPoint

FAKES = Path(__file__).parent.parent / "fakes.py"
TRUE_FLOAT32 = {("ieee", "ieee", "ieee")}


def precisions() -> tuple[str, ...]:
    """What CUDA may compute float32 products, convolutions and recurrent networks in."""
    cudnn = torch.backends.cudnn
    kernels = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)
    return tuple(kernel.fp32_precision for kernel in kernels)


@pytest.fixture
def noted(fakes, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[tuple[str, ...]]]:
    """The `precisions` under which methods of a model ran."""
    seen: dict[str, set[tuple[str, ...]]] = {}

    def noting(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(self, *args: Any, **kwargs: Any) -> Any:
            mode = "training" if self.training else "evaluation"
            seen.setdefault(f"{method.__name__} in {mode}", set()).add(precisions())
            return method(self, *args, **kwargs)

        return run

    for name in ("initialize", "log_prob", "sample"):
        monkeypatch.setattr(fakes.Gaussian, name, noting(getattr(fakes.Gaussian, name)))
    return seen


def execute(results: Path, registry: Registry, **suite: Any) -> str:
    """Runs a job of fakes in this process; returns its id."""
    base = {"models": ("fake-gaussian",), "datasets": ("fake-images",), "metrics": ("fake_nll",)}
    (job,) = plan(Suite(**base, **suite), registry, results)
    directory = ResultsDir(results).new_attempt(job.row.job_id)
    order = WorkOrder(
        job=job.row,
        number=directory.number,
        metrics=job.metrics,
        device="cpu",
        num_threads=1,
        data_dir=str(results),
        plugins_excluded=("flowbench",),
        plugin_files=(str(FAKES),),
        spawned=0.0,
        spawned_utc="",
    )
    directory.write(ORDER, order.model_dump_json())
    pulse: Any = SimpleNamespace()
    turnstile = Turnstile(results / "locks")
    Execution(order, directory, Clock(), turnstile, pulse, threading.Event()).run()
    turnstile.close()
    return job.row.job_id


def test_all_but_training_steps_run_in_true_float32(fake_registry, noted, tmp_path: Path) -> None:
    before = precisions()
    overrides = {"fake-gaussian.training.precision": "tf32"}
    execute(tmp_path, fake_registry, budget="2steps", overrides=overrides)
    assert noted == {
        "initialize in training": TRUE_FLOAT32,
        "log_prob in training": {("tf32", "tf32", "tf32")},
        "log_prob in evaluation": TRUE_FLOAT32,
        "sample in evaluation": TRUE_FLOAT32,
    }
    assert precisions() == before


def test_a_loaded_model_is_evaluated_in_true_float32(
    fake_registry, fake_plugins, noted, tmp_path: Path
) -> None:
    job_id = execute(tmp_path, fake_registry, budget="1steps")
    before = precisions()
    trained = load_job(job_id, tmp_path, data_dir=tmp_path, plugins=fake_plugins)
    noted.clear()
    trained.likelihood("test")
    trained.draw(2, seed=0)
    assert noted == {
        "log_prob in evaluation": TRUE_FLOAT32,
        "sample in evaluation": TRUE_FLOAT32,
    }
    assert precisions() == before


def test_the_hash_of_the_models_code_leaves_dataset_and_metrics_out() -> None:
    registry = load_registry(PluginSelection(files=(FAKES,)))
    order = SimpleNamespace(device="cpu", metrics=("nll",), command=())
    job = SimpleNamespace(model="fake-gaussian", dataset="two-moons")
    execution: Any = SimpleNamespace(_order=order, _job=job, outcome=Outcome())
    Execution._describe(execution, registry, registry.dataset("two-moons").spec.info(10))
    assert execution.outcome.model_code_sha256 == code_sha256(["fakes"])
    assert execution.outcome.code_sha256 != execution.outcome.model_code_sha256


@pytest.mark.parametrize(
    ("measure", "name", "value"),
    [
        ("discrete", "bpd", 2.0),
        ("continuous", "nll", 8 * math.log(2)),
        ("noisy", "nll", 8 * math.log(2)),
    ],
)
def test_curves_hold_bits_only_of_a_discrete_likelihood(
    measure: Any, name: str, value: float
) -> None:
    points: list[Any] = []
    execution: Any = SimpleNamespace(note_point=points.append, checkpoint_due=None, save=None)
    trained: Any = SimpleNamespace(
        data=SimpleNamespace(num_dims=4), likelihood_kind=Likelihood(measure=measure)
    )
    nats = 8 * math.log(2)
    point = ValidationPoint(
        step=1, examples=2, charged_s=1.0, progress=0.5, loss=None, raw=nats, ema=None
    )
    _Watch(execution, trained).validated(point)
    kept = points[0].model_dump(exclude_none=True)
    assert kept[name] == pytest.approx(value)
    assert ("bpd" in kept) == (measure == "discrete")
