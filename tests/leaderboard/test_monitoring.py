from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flowbench.leaderboard.build.monitoring import monitored
from flowbench.store.attempt_files import AttemptContents
from flowbench.store.kept import CURVE_POINTS, keep, kept_attempts
from flowbench.store.records import CurvePoint
from tests.store import attempts as make


def run(*errors: float, lost: float = 0.0) -> AttemptContents:
    points = [
        CurvePoint(
            step=100 * n,
            examples=100 * n,
            charged_s=float(n),
            progress=n / len(errors),
            info={
                "round_trip": error,
                "round_trip_nonfinite": lost,
                "gradient_norm": 2.0,
                "log_determinant/a": -1.5,
                "log_determinant/b": 3.0,
                "log_determinant/c": 0.5,
            },
        )
        for n, error in enumerate(errors)
    ]
    record = make.attempt(make.job("glow"))
    return AttemptContents(record=record, curves=tuple(points), log_prob=None)


def test_within_the_thresholds_nothing_is_said() -> None:
    assert list(monitored([run(1e-7, 9e-6, 2e-7)])) == []
    assert list(monitored([run()])) == []


@pytest.mark.parametrize(
    ("worst", "limit"), [(2e-5, "1e-05"), (9e-4, "1e-05"), (2e-3, "0.001, poor invertibility")]
)
def test_beyond_them_it_says_how_far_and_when_and_what_else_was_seen(
    worst: float, limit: str
) -> None:
    (text,) = monitored([run(1e-7, worst, 1e-6)])
    assert f"off by {worst:.1e} on average at step 100, above an overview's {limit}" in text
    assert f"over training 1.0e-07, {worst:.1e}, 1.0e-06" in text
    assert "gradient norm 2.0e+00" in text
    assert "log-determinants of layers from -1.5 to 3 nats" in text


def test_values_that_do_not_come_back_are_told_whatever_the_others_do() -> None:
    (text,) = monitored([run(1e-7, 1e-7, lost=0.25)])
    assert "up to 25 % of values came back as no number" in text
    assert "above" not in text


def test_a_round_trip_that_gives_no_number_at_all_is_told() -> None:
    found = run(1e-7, 1e-7)
    first, last = found.curves
    # A mean over no number is none, and not in a curve.
    lost = last.model_copy(update={"info": {"round_trip_nonfinite": 1.0}})
    (text,) = monitored([replace(found, curves=(lost,))])
    assert text == "seed 0: up to 100 % of values came back as no number"
    (text,) = monitored([replace(found, curves=(first, lost))])
    assert "up to 100 % of values came back as no number; over training 1.0e-07" in text


def test_kept_runs_say_the_same(tmp_path: Path) -> None:
    found = run(*(1e-6 * n for n in range(CURVE_POINTS + 30)))
    keep(tmp_path, "some", [found])
    (kept,) = kept_attempts(tmp_path, pytest.fail)
    assert list(monitored([kept])) == list(monitored([found])) != []
    assert {name for p in kept.curves for name in p.info or {} if "/" in name} == {
        "log_determinant/a",
        "log_determinant/b",
    }
