"""Where jobs run, as flags and the suite say; and what becomes of them after Ctrl-C."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowbench.cli.run import _executor
from flowbench.cli.summary import stopped
from flowbench.errors import SuiteError
from flowbench.suite.load import load_suite
from flowbench.suite.schema import Suite

TABLE = 'models = ["glow"]\n[executor]\nname = "slurm"\npartition = "gpu"\ntime = 10\n'


def test_flags_change_what_the_suite_asks_of_its_executor(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TABLE)
    suite = load_suite(tmp_path / "mine.toml")
    there = _executor(suite, None, ["time=4:00:00,account=lab", "mem=8G"])
    assert (there.name, there.options) == (
        "slurm",
        {"partition": "gpu", "time": "4:00:00", "account": "lab", "mem": "8G"},
    )
    assert _executor(suite, "slurm", []).options == {"partition": "gpu", "time": "10"}
    # What is asked of one is nothing to another.
    elsewhere = _executor(suite, "local", [])
    assert (elsewhere.name, elsewhere.options) == ("local", {})


@pytest.mark.parametrize("text", ["partition", "=gpu", "partition=", "time=1,gpu"])
def test_what_is_no_option_is_refused(text: str) -> None:
    with pytest.raises(SuiteError, match="expected KEY=VALUE"):
        _executor(Suite(models=("glow",)), "slurm", [text])


@pytest.mark.parametrize(
    ("slots", "detach", "said"),
    [
        (("a slot",), False, "stopped; run the same command again to go on from there"),
        (("a slot",), True, "stopped; workers go on by themselves; run"),
        (
            (),
            False,
            "no longer watching: jobs go on in slurm; run the same command again to follow",
        ),
    ],
)
def test_ctrl_c_says_what_becomes_of_jobs(slots: tuple[str, ...], detach: bool, said: str) -> None:
    request: Any = SimpleNamespace(executor="slurm", detach=detach)
    ready: Any = SimpleNamespace(executor=SimpleNamespace(slots=slots))
    assert stopped(request, ready).startswith(said)
