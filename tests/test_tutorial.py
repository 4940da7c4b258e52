"""The tutorial is true: its commands run in order, and the display is what is shown of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from flowbench.runner.attempt import Phase
from tests.cli.events import Events, job, screen

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "tutorial" / "ten-minutes.md").read_text()
DISPLAY = (DOCS / "reference" / "display.md").read_text()


def _blocks(page: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(\w+)\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)


def test_the_display_is_what_is_shown(tmp_path: Path) -> None:
    jobs = (job("glow"), job("realnvp"), job("denseflow", "74-10"), job("nice"))
    events = Events(jobs, tmp_path)
    events.start(0)
    events.start(1)
    events.now = 20.0
    events.train(0, 0.25)
    events.train(1, 0.2, phase="looking")
    ((_, shown),) = _blocks(DISPLAY)
    assert shown.splitlines() == screen(events.tally)


def test_every_phase_is_explained() -> None:
    cells = re.findall(r"^\| (`.*?`) \|", DISPLAY, flags=re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(cells))) == set(get_args(Phase))


@pytest.mark.slow
@pytest.mark.long
def test_the_commands_run_in_their_order(tmp_path: Path) -> None:
    """With a few steps in place of 20 s; and then what the page has in Python, of their results."""
    (code,) = (text for kind, text in _blocks(PAGE) if kind == "python")
    (tmp_path / "page.py").write_text(code)
    commands = "".join(text for kind, text in _blocks(PAGE) if kind == "sh")
    assert commands.count("--budget 20s") == 2
    commands += f'"{sys.executable}" page.py\n'
    brief = commands.replace("--budget 20s", "--budget 20steps --metrics nll")
    program = f'flowbench() {{ "{sys.executable}" -m flowbench.cli.app "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-ec", program + brief],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("FLOWBENCH_")},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 reused, 4 to run" in done.stderr.splitlines()
    assert re.search(r"^realnvp-two-moons-s0-\S+: ok, 20 steps", done.stdout, re.MULTILINE)
    assert list((tmp_path / "boards").glob("*.html"))
    assert "A less B on two-moons" in done.stdout
    *_, by_model, samples = done.stdout.split("A less B on two-moons")[-1].partition("model\n")
    assert re.search(r"^nice +-?\d+\.\d+\nrealnvp +-?\d+\.\d+\n", samples, re.MULTILINE), by_model
    assert samples.count("[") == 4  # three points in the plane
