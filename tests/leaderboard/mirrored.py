"""A results folder with reproductions of some rows of DenseFlow's first table."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from flowbench.store.attempt_files import attempt_dirs
from flowbench.store.checks import CheckRow, write_check
from flowbench.store.ingest import ingest
from flowbench.store.records import AttemptRow
from flowbench.suite.find import find_suite
from flowbench.suite.load import load_suite
from flowbench.suite.schema import Suite
from tests.store import attempts as make

GPU = {"device_kind": "cuda", "device_name": "H100", "charged_s": 7200.0}
IMAGE = {"modality": "image", "event_shape": [3, 32, 32], "levels": 256, "num_test": 10_000}


def suite(name: str = "denseflow-1") -> Suite:
    """A shipped suite."""
    return load_suite(find_suite(name))


def run(model: str, dataset: str, seed: int, bpd: float, **fields: Any) -> AttemptRow:
    """One run of ``model:preset`` on a GPU for two GPU-hours."""
    name, _, preset = model.partition(":")
    asked = {"preset": preset, "dataset": dataset, "budget": "2gpuh"}
    job = make.job(name, seed, **(asked | fields.pop("job", {})))
    protocol = make.UNIFORM_BOUND | {"draws": 200}
    measured = (
        make.measured("bpd", bpd, "bits/dim", n=10_000, protocol=protocol),
        *make.measurements(bpd, parameters=44_235_000)[2:],
    )
    given = {**GPU, "measurements": measured, "data": IMAGE, **fields}
    return make.attempt(job, **given)


def records() -> list[AttemptRow]:
    """Reproductions: three seeds, one seed, another data set, a failure and a broken contract."""
    found = [run("denseflow:74-10", "cifar10", seed, 3.04 + 0.01 * seed) for seed in range(3)]
    found += [run("glow:512ch", "cifar10", seed, 3.41 + 0.001 * seed) for seed in range(3)]
    found += [run("realnvp:cifar10", "cifar10", 0, 3.60)]
    found += [run("glow:imagenet32", "imagenet32", seed, 4.2 + 0.01 * seed) for seed in range(2)]
    wide = "denseflow:74-10-imagenet32"
    found += [run(wide, "imagenet32", seed, 3.7 + 0.01 * seed) for seed in range(2)]
    lost = make.job(
        "realnvp", 0, preset="celeba64", dataset="celeba64-crop148-8bit", budget="2gpuh"
    )
    return [*found, make.failed(lost, "oom")]


def check(name: str, status: Literal["passed", "failed", "skipped"] = "failed") -> CheckRow:
    """The outcome of a contract check."""
    return CheckRow(
        kind="model",
        name=name,
        status=status,
        plugin="flowbench",
        plugin_version="0",
        flowbench_version="0",
        code_sha256="c" * 64,
        ended="2026-01-02T03:04:05+00:00",
        seconds=1.0,
        checks=({"name": "ladj", "status": status},),
    )


def store(folder: Path, *, failing: str = "") -> Path:
    """A results folder with all of them."""
    for record in records():
        make.write(folder, record, curves=make.curve(3.0) if record.status == "ok" else ())
    ingest(folder, attempt_dirs(folder))
    if failing:
        write_check(folder, check(failing))
    return folder
