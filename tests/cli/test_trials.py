from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import Command
from tests.store.test_trials import sweep_of_two


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sweep_of_two(tmp_path_factory.mktemp("trials"))


def test_they_are_listed_with_what_they_came_to(flowbench: Command, trials: Path) -> None:
    _, out, _ = flowbench("results", "list", "--results", str(trials))
    assert "pruned trial" in out
    assert "0 of abc, 2.5000 bits/dim" in out
    _, out, _ = flowbench(
        "results", "list", "--status", "trial", "--results", str(trials), "--json"
    )
    assert [one["trial"]["number"] for one in json.loads(out)] == [0, 1]
    _, out, _ = flowbench("status", "--results", str(trials))
    assert "2 ok, 1 pruned" in out


def test_trials_without_a_sweep_are_refused(flowbench: Command) -> None:
    status, _, err = flowbench("run", "--models", "glow", "--trials", "3")
    assert (status, err) == (
        1, "error: --trials counts those of a sweep; give --sweep MODEL.KEY=... too\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("glow.training.lr", "malformed --sweep 'glow.training.lr'; expected key=value"),
        ("glow.training.lr=1e-3", "sweep.glow.training.lr: expected log(a,b), uniform(a,b), "),
        ("glow.training.lr=log(1,0.1)", "the first end must be the lower one"),
        ("glow.learning=log(1,2)", "unknown key 'learning' of 'glow'"),
        ("glw.lr=log(1,2)", "--sweep 'glw.lr' names none of the models that run"),
        ("glow.training.batch_size=uniform(8,9)", "glow.training.batch_size: Input should be a"),
    ],
)
def test_a_sweep_that_cannot_be_is_one_clear_line(
    flowbench: Command, given: str, message: str
) -> None:
    status, _, err = flowbench("run", "--models", "glow", "--sweep", given, "--dry-run")
    assert status == 1
    assert message in err
    assert err.count("\n") == 1
