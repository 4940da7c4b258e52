"""Waveforms from a folder of clips to what is heard, and back in Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flowbench.api.audio import read_wave, write_wave
from flowbench.runner.load import load_job
from flowbench.store.attempt_files import LIKELIHOODS
from tests.cli.command import Command

RATE, WINDOW = 8000, 1024


@pytest.mark.slow
def test_clips_of_a_folder_are_learned_heard_and_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    for number in range(20):
        values = np.random.default_rng(number).normal(0.0, 0.1, 1300)
        (tmp_path / "clips" / f"{number:02}.wav").write_bytes(write_wave(values, rate=RATE))
    flowbench = Command(monkeypatch, capsys, ("--results", "results"))
    data = ("--datasets", "folder-audio:clips", "--data-dir", "data")
    models = ("gaussian", "waveflow")
    # Shorter than the dataset's own segments, which no clip here has.
    windows = [part for m in models for part in ("--set", f"{m}.training.window={WINDOW}")]
    job = ("--budget", "1steps", "--num-samples", "2", "--metrics", "ll", "--jobs", "1")
    chosen = ("--models", "gaussian,waveflow:toy", *windows)
    assert flowbench("run", *chosen, *data, *job)[0] == 0, capsys.readouterr()
    found = json.loads(flowbench("results", "list", "--json")[1])
    assert {row["model"]: row["status"] for row in found} == dict.fromkeys(models, "ok")
    for row in found:
        attempt = Path("results") / "runs" / row["job_id"] / "1"
        trained = load_job(row["job_id"], Path("results"), data_dir=Path("data"))
        with np.load(attempt / LIKELIHOODS) as kept:
            assert np.array_equal(kept["test"], trained.likelihood("test").log_prob)
        assert trained.samples().x.shape == (2, 1, WINDOW)
        assert trained._harness.shown.test.x.shape == (2, 1, WINDOW)
        heard = sorted((attempt / "artifacts").glob("*.wav"))
        assert len(heard) == 2
        assert read_wave(heard[0].read_bytes(), "it", rate=RATE).shape == (WINDOW,)
    likelihoods = {row["model"]: row["metrics"]["ll"]["value"] for row in found}
    # White noise of standard deviation 0.1, which the process is fitted to.
    assert likelihoods["gaussian"] == pytest.approx(-0.5 * np.log(2 * np.pi * np.e * 0.01), abs=0.1)
