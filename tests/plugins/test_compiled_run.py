from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from flowbench.cli.app import app
from flowbench.runner.attempt import ResultsDir


@pytest.mark.slow  # torch's own compiler runs
@pytest.mark.long
def test_a_paper_model_trains_compiled(tmp_path: Path) -> None:
    command = ["run", "--models", "glow:tiny", "--datasets", "digits", "--budget", "20steps"]
    command += ["--set", "glow.training.compile=true", "--metrics", "bpd"]
    command += ["--set", "glow.levels=1", "--set", "glow.steps=2"]  # compiling takes most of it
    done = CliRunner().invoke(app, [*command, "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (job,) = (tmp_path / "runs").iterdir()
    (attempt,) = ResultsDir(tmp_path).attempts(job.name)
    record = attempt.record()
    assert record is not None
    assert (record.status, record.steps, record.skipped_steps) == ("ok", 20, 0)
    assert record.ledger["compile"] > record.ledger["train"] > 0
    (bpd,) = [m for m in record.measurements if m.name == "bpd"]
    assert bpd.value is not None
    assert bpd.value < 4.0  # bits of 17 levels
