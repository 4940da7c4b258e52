"""Whole runs without a network: Inception's architecture with random weights, and no weights."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowbench.cli.app import main
from tests.plugins.flowbench_metrics.inception import write_random_inception

PLUGIN = """
import numpy as np
from flowbench.api import DatasetSpec, DataSplits, Split, hookimpl

FLOWBENCH_API_VERSION = 2

def load(data_dir):
    x = np.random.default_rng(0).integers(0, 256, (60, 3, 8, 8), dtype=np.uint8)
    return DataSplits(train=Split(x=x[:50]), test=Split(x=x[50:]))

@hookimpl
def register_datasets():
    return [DatasetSpec(name="specks", modality="image", event_shape=(3, 8, 8), levels=256,
                        num_train=50, num_test=10, load="specks_data:load", summary="noise",
                        licence="CC0")]
"""
Flowbench = Callable[..., str]

pytestmark = pytest.mark.slow


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """A folder of a long name: it may not cost a reason what to do next."""
    folder = tmp_path / ("x" * 90) / ("y" * 90)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def flowbench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Flowbench:
    """Runs a command where no download can succeed; it must succeed itself."""
    plugin = tmp_path / "specks_data.py"
    plugin.write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # where nobody answers
    monkeypatch.delitem(sys.modules, "specks_data", raising=False)

    def call(*arguments: str) -> str:
        given = ["flowbench", *arguments]
        more = [] if arguments[0] == "results" else ["--plugin-file", str(plugin)]
        monkeypatch.setattr(sys, "argv", given + more)
        status: Any = 0
        try:
            main()
        except SystemExit as exc:
            status = exc.code or 0
        captured = capsys.readouterr()
        assert status == 0, captured
        return captured.out + captured.err

    return call


def run(flowbench: Flowbench, metrics: str, *more: str) -> tuple[dict[str, Any], str]:
    """One job of 64 samples, which is ok: its measurements by name, and what the run printed."""
    job = ("--models", "histogram", "--datasets", "specks", "--budget", "2steps")
    printed = flowbench("run", *job, "--num-samples", "64", "--metrics", metrics, *more)
    (row,) = json.loads(flowbench("results", "list", "--json"))
    assert row["status"] == "ok"
    return row["metrics"], printed


@pytest.mark.long
def test_random_weights_give_a_number_that_nobody_takes_for_fid(
    flowbench: Flowbench, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    weights = write_random_inception(tmp_path / "own")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    names = "fid,fid-64,fd-inception-v3-compat-64"
    found, printed = run(flowbench, names, "--weights", "own", "--data-dir", "data")
    own = found.pop(f"fd-inception-v3-compat-64-{digest[:8]}@64")
    assert (own["status"], own["n"], own["protocol"]["weights_sha256"]) == ("ok", 64, digest)
    assert own["value"] > 0.0
    assert {name: value["status"] for name, value in found.items()} == {
        "fid": "unavailable",
        "fid-64": "unavailable",
    }
    assert "these are other weights" in printed
    assert len(list((tmp_path / "data" / "statistics").iterdir())) == 1


def test_without_weights_the_job_is_ok_and_the_run_says_what_to_do(flowbench: Flowbench) -> None:
    found, printed = run(flowbench, "fid,precision")
    assert {name: (value["status"], value["value"]) for name, value in found.items()} == {
        "fid": ("unavailable", None),
        "precision": ("unavailable", None),
    }
    assert "run flowbench data prepare inception-weights" in printed
    assert "run flowbench data prepare vgg16-weights" in printed
