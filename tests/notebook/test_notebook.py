"""The notebook of the docs runs, and its numbers are those of the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import flowbench

NOTEBOOK = Path(__file__).parents[2] / "docs" / "how-to" / "notebook.ipynb"
pytestmark = pytest.mark.slow


@pytest.mark.long
def test_the_notebook_runs_and_agrees_with_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWBENCH_RESULTS", str(tmp_path / "a"))
    monkeypatch.chdir(tmp_path)
    notebook = nbformat.reads(NOTEBOOK.read_text("utf-8"), as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    (run,) = (cell for cell in notebook.cells if "flowbench.run(" in cell.source)
    shown = [output.get("data", {}).get("text/html", "") for output in run.outputs]
    assert "2 of 2 jobs done" in "".join(shown)
    assert shown[-1].startswith("<iframe")

    (kept,) = (tmp_path / "a" / "classes").glob("shear_*.py")
    asked = ["--models", "shear,nice", "--datasets", "two-moons", "--budget", "100steps"]
    asked += ["--metrics", "nll,params", "--plugin-file", str(kept), "-q"]
    command = [sys.executable, "-c", "from flowbench.cli.app import main; main()", "run", *asked]
    subprocess.run([*command, "--results", "b"], check=True, capture_output=True)

    same = ["job_id", "model", "name", "value", "stderr", "unit", "steps", "num_parameters"]
    a, b = (flowbench.results(tmp_path / folder)[same] for folder in ("a", "b"))
    assert len(a) > 2
    assert a.equals(b)
