"""What another run of a row says of it."""

from __future__ import annotations

from typing import Any

import pytest

from flowbench.errors import StoreError
from flowbench.leaderboard.build.evidence import Method, methods
from flowbench.leaderboard.verify import judged, qualities, rerun_budget, to_rerun
from flowbench.store.bundles import VerifiedRow
from flowbench.store.records import AttemptRow
from tests.store import attempts as make


def run(seed: int, bpd: float | None, **fields: Any) -> AttemptRow:
    unit = fields.pop("unit", "bits/dim")
    values = (
        make.measured("bpd", bpd, unit, role="quality"),
        make.measured("sampling_latency", 1.0, "s", role="cost"),
        make.measured("mass", 1.0, "", "none", role="witness"),
    )
    return make.attempt(make.job(seed=seed), **{"measurements": values, **fields})


def row(*values: float, **fields: Any) -> Method:
    (only,) = methods([run(seed, value, **fields) for seed, value in enumerate(values)], {})
    return only


def verdict(given: Method, now: AttemptRow, tolerance: float | None = None) -> VerifiedRow:
    return judged(given, [(given.first, now)], tolerance)


@pytest.mark.parametrize(
    ("reported", "now", "tolerance", "expected"),
    [
        ([2.0], 2.0, None, "verified"),
        ([2.0], 2.04, None, "verified"),  # 0.05 bits are equal on a board
        ([2.0], 2.06, None, "contradicted"),
        ([2.0], 1.9, None, "contradicted"),
        ([2.0, 2.2, 1.8], 2.4, None, "verified"),  # within the spread of its seeds
        ([2.0, 2.2, 1.8], 3.2, None, "contradicted"),
        ([2.0, 2.2, 1.8], 2.04, 0.001, "contradicted"),
        ([2.0], 2.2, 0.2, "verified"),
        ([2.0], 2.0, 0.0, "verified"),
    ],
)
def test_a_row_is_held_to_what_a_board_calls_equal(
    reported: list[float], now: float, tolerance: float | None, expected: str
) -> None:
    found = verdict(row(*reported), run(0, now), tolerance)
    assert found.verdict == expected
    assert f"bpd {reported[0]:.4g}, now {now:.4g}" in found.why
    assert len(found.attempts) == len(reported)
    assert found.row == "realnvp:small on digits, 60 s".replace(" s", "\N{NO-BREAK SPACE}s")


@pytest.mark.parametrize(("now", "expected"), [(108.0, "verified"), (112.0, "contradicted")])
def test_of_other_qualities_a_tenth_is_equal(now: float, expected: str) -> None:
    assert verdict(row(100.0, unit=""), run(0, now, unit="")).verdict == expected


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (make.failed(make.job(), "oom"), "seed 0 oom here"),
        (run(0, 2.0, steps=100), "seed 0 came to 100 of 1,234 steps within --longest"),
        (run(0, None), "bpd cannot be measured here"),
        (run(0, 2.0, measurements=()), "bpd cannot be measured here"),
    ],
)
def test_a_run_that_says_nothing_contradicts_nothing(now: AttemptRow, why: str) -> None:
    found = verdict(row(2.0), now)
    assert found.verdict == "not rerun"
    assert why in found.why


def test_costs_are_the_other_machines_own() -> None:
    assert [m.name for m in qualities(run(0, 2.0))] == ["bpd"]
    nothing = row(2.0, measurements=run(0, 2.0).measurements[1:])
    assert "no quality" in verdict(nothing, run(0, 2.0)).why


def test_a_budget_of_time_is_run_again_in_steps() -> None:
    assert rerun_budget(run(0, 2.0), 3600.0) == "1234steps,3600s"
    in_steps = make.attempt(make.job(budget="500steps"))
    assert rerun_budget(in_steps, 3600.0) == "500steps"


def test_what_is_not_run_again_says_why() -> None:
    (failed,) = methods([make.failed(make.job())], {})
    with pytest.raises(StoreError, match=r"no run ended well \(diverged\)"):
        to_rerun(failed, 1, 3600.0)
    with pytest.raises(StoreError, match="took 60 s; --longest allows 30 s"):
        to_rerun(row(2.0), 1, 30.0)
    elsewhere = methods([make.attempt(make.job(dataset="folder:/home/x?size=8"))], {})[0]
    with pytest.raises(StoreError, match="a folder of the submitter"):
        to_rerun(elsewhere, 1, 3600.0)
    assert [r.job.seed for r in to_rerun(row(2.0, 2.1, 2.2), 2, 3600.0)] == [0, 1]
