"""Makes attempt directories as a worker would leave them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flowbench.api import Artifact
from flowbench.code_hash import core_sha256
from flowbench.store.artifacts import grid_as_artifacts, write_artifacts
from flowbench.store.records import AttemptRow, CurvePoint, JobRow, MeasurementRow

NUM_DIMS = 64
IMAGE = {"modality": "image", "event_shape": [1, 8, 8], "levels": 17, "num_test": 360}
UNIFORM_BOUND = {
    "measure": "discrete",
    "dequantization": "uniform",
    "estimate": "bound",
    "draws": 16,
    "given": "none",
}


def job(model: str = "realnvp", seed: int = 0, **fields: Any) -> JobRow:
    """A job; its id hashes what it asks for."""
    asked = {
        "config": {"width": 64, "training": {"lr": 1e-3, "clip_norm": None}},
        "dataset": "digits",
        "dataset_sha256": "d" * 64,
        "budget": "60s",
        "protocol_version": 1,
        "protocol": {"eval_draws": 16},
    } | {k: v for k, v in fields.items() if k not in ("preset", "overrides", "family")}
    text = json.dumps({"model": model, "seed": seed, **asked}, sort_keys=True)
    return JobRow(
        job_id=hashlib.sha256(text.encode()).hexdigest()[:12],
        model=model,
        preset=fields.get("preset", "small"),
        overrides=fields.get("overrides", {}),
        family=fields.get("family"),
        seed=seed,
        **asked,
    )


def measured(
    name: str, value: float | None, unit: str, direction: str = "lower", **fields: Any
) -> MeasurementRow:
    """A measurement on the test split."""
    given = {"metric": name, "split": "test"} | fields
    return MeasurementRow(name=name, value=value, unit=unit, direction=direction, **given)


def measurements(bpd: float, *, parameters: int = 123_456) -> tuple[MeasurementRow, ...]:
    """What the built-in metrics say of an image model on a CPU."""
    unavailable: dict[str, Any] = {"status": "unavailable", "reason": "trained on CPU"}
    count: dict[str, Any] = {"role": "count", "split": None}
    witness: dict[str, Any] = {"role": "witness", "split": None}
    return (
        measured("bpd", bpd, "bits/dim", n=360, stderr=0.011),
        measured("bpd_elbo", bpd + 0.01, "bits/dim", metric="bpd", n=360, stderr=0.011),
        measured("params", parameters, "", "none", label="Parameters", **count),
        measured("device_hours", 0.0167, "h", **count),
        measured("gpu_hours", None, "h", **witness, **unavailable),
        measured("sampling_latency", 0.0053, "s", n=20, split=None),
        measured("sampling_throughput", 12_345.6, "1/s", "higher", n=20, split=None),
        measured("peak_memory", 412 * 2**20, "bytes", **witness),
    )


def attempt(job_row: JobRow | None = None, number: int = 1, **fields: Any) -> AttemptRow:
    """An attempt that went well, unless ``fields`` say otherwise."""
    row = job_row or job()
    given: dict[str, Any] = {
        "status": "ok",
        "started": "2026-01-02T03:04:05+00:00",
        "ended": "2026-01-02T03:05:15+00:00",
        "device_kind": "cpu",
        "device_name": "Xeon",
        "num_threads": 2,
        "steps": 1234,
        "examples": 78_976,
        "charged_s": 60.02,
        "wall_s": 70.1,
        "ledger": {"start": 2.1, "setup": 0.4, "data": 0.3, "train": 58.9, "eval": 6.0},
        "num_parameters": 123_456,
        "weights": "ema",
        "best_step": 1200,
        "likelihood": UNIFORM_BOUND,
        "data": IMAGE,
        "code_sha256": "c" * 64,
        "model_code_sha256": "c" * 64,
        "core_code": core_sha256(),
        "provenance": {"versions": {"flowbench": "0.1.0", "torch": "2.10.0"}},
        "measurements": measurements(2.0),
    }
    return AttemptRow(
        attempt_id=f"{row.job_id}-{number}", number=number, job=row, **(given | fields)
    )


def failed(job_row: JobRow, status: str = "diverged", number: int = 1) -> AttemptRow:
    """An attempt that came to nothing."""
    return attempt(
        job_row,
        number,
        status=status,
        reason="50 steps in a row without a finite gradient",
        log_tail="loss nan",
        measurements=(),
    )


def curve(last: float, points: int = 20) -> tuple[CurvePoint, ...]:
    """A learning curve that comes down to a value."""
    return tuple(
        CurvePoint(
            step=60 * i,
            examples=3840 * i,
            charged_s=3.0 * i,
            progress=i / points,
            loss=None if i == 0 else 100.0 / i,
            bpd=last + 2.0 / (1 + i),
            bpd_ema=last + 2.5 / (1 + i),
        )
        for i in range(points + 1)
    )


def png(seed: int = 0) -> bytes:
    """A small grid of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, size=(34, 134), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def grid(seed: int = 0) -> tuple[Artifact, ...]:
    """The same, as a record has it."""
    return grid_as_artifacts(png(seed))


def clips(num: int = 2) -> tuple[Artifact, ...]:
    """Recordings; what is in them is not looked at."""
    return tuple(
        Artifact(name=f"clip {n}", media_type="audio/wav", content=b"RIFF" * n, thumbnail=png(n))
        for n in range(1, num + 1)
    )


def log_prob(bpd: float, seed: int = 0, num: int = 360) -> np.ndarray[Any, Any]:
    """Per-example log-likelihoods whose mean is that of a bpd."""
    noise = np.random.default_rng(seed).normal(0.0, 8.0, size=num)
    return np.asarray(-bpd * NUM_DIMS * np.log(2.0) + noise - noise.mean())


def write(
    results: Path,
    record: AttemptRow,
    *,
    curves: tuple[CurvePoint, ...] = (),
    artifacts: Sequence[Artifact] = (),
    values: np.ndarray[Any, Any] | None = None,
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes an attempt's directory and returns it."""
    directory = results / "runs" / record.job.job_id / str(record.number)
    directory.mkdir(parents=True, exist_ok=True)
    if curves:
        lines = "".join(point.model_dump_json() + "\n" for point in curves)
        (directory / "curves.jsonl").write_text(lines, encoding="utf-8")
    if artifacts:
        write_artifacts(directory, artifacts)
    if values is not None:
        np.savez(directory / "likelihoods.npz", test=values)
    for name, content in (extra or {}).items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(content)
    (directory / "record.json").write_text(record.model_dump_json(), encoding="utf-8")
    return directory
