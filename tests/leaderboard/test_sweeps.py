"""What a board says of rows that a sweep has chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowbench.leaderboard.build.evidence import Source
from flowbench.leaderboard.build.standing import chosen_runs
from flowbench.store.records import AttemptRow, Tuning
from flowbench.suite.schema import Suite
from tests.leaderboard.test_build import RENDERINGS, board, rendered, run

TUNING = Tuning(
    preset=3, sweep="abc", space={"lr": "log(0.1,1.0)"}, trials=20, pruned=6, failed=1,
    charged_s=1800.0,
)  # fmt: skip


def tuned(model: str, seed: int, bpd: float, tuning: Tuning | None = TUNING) -> AttemptRow:
    return run(model, seed, bpd, tuning=tuning, job=settings(0.3))


def settings(lr: float) -> dict[str, Any]:
    return {"overrides": {"lr": lr}, "config": {"lr": lr}}


@pytest.mark.parametrize("name", ["terminal", "parquet", *RENDERINGS])
def test_trials_and_their_cost_are_said_in_every_rendering(name: str, tmp_path: Path) -> None:
    found = board(tuned("glow", 0, 2.0), tuned("glow", 1, 2.1), run("nice", 0, 2.5))
    text = rendered(name, found, tmp_path)
    for space in ("~", "xa0", "\u00a0"):  # as each of them has those that do not break
        text = text.replace(space, " ")
    assert "best of 20 trials, 6 pruned, 1 failed, 30 min in all" in text
    assert "Sweep hours" in text
    assert "0.50" in text


def test_the_cost_of_a_sweep_is_part_of_the_rows_own() -> None:
    found = board(tuned("glow", 0, 2.0), run("nice", 0, 2.5))
    (row, other) = found.rows
    assert (row.trials, row.sweep_hours) == (20, 0.5)
    assert (other.trials, other.sweep_hours) == (0, None)
    hours = {column.metric: cell for column, cell in zip(found.columns, row.cells, strict=True)}
    assert hours["sweep_hours"].mean == 0.5
    assert hours["bpd"].device_hours == pytest.approx(0.5 + 60.02 / 3600)
    facts = dict(row.details[0].facts)["Tuning"].replace("\u00a0", " ")
    assert facts == (
        "3 configurations tried for the preset; then best of 20 trials, 6 pruned, 1 failed, "
        "30 min in all, of lr=log(0.1,1.0), chosen on validation"
    )


@pytest.mark.parametrize(
    ("tuning", "said"),
    [(None, None), (Tuning(), None), (Tuning(preset=1), "1 configuration tried for the preset")],
)
def test_what_no_sweep_chose_says_what_its_preset_took(
    tuning: Tuning | None, said: str | None
) -> None:
    found = board(tuned("glow", 0, 2.0, tuning))
    (row,) = found.rows
    assert dict(row.details[0].facts).get("Tuning") == said
    assert "sweep_hours" not in {column.metric for column in found.columns}


def test_a_suite_with_a_sweep_shows_what_that_has_chosen() -> None:
    swept = tuned("glow", 0, 2.0)
    others = [run("glow", 0, 2.1, job=settings(0.4)), run("glow", 0, 2.2)]
    source = Source(records=[swept, *others])
    suite = Suite.model_validate({"models": ["glow"], "sweep": {"glow.lr": "log(0.1,1)"}})
    assert [r.attempt_id for r in chosen_runs(suite, source)] == [swept.attempt_id]
    grid = Suite(models=("glow",), grid={"glow.lr": (0.3, 0.4)})
    assert len(chosen_runs(grid, source)) == 2
