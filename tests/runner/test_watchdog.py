from __future__ import annotations

import pytest

from flowbench.runner.attempt import SILENCE_S, Heartbeat
from flowbench.runner.watchdog import Verdict, foresee, judge

SPAWNED = 1000.0


def beat(part: str, charged_s: float, at: float) -> Heartbeat:
    return Heartbeat(pid=1, part=part, charged_s=charged_s, beat=at)


def verdict(
    heartbeat: Heartbeat | None, now: float, limit_s: float | None = 60.0
) -> Verdict | None:
    return judge(heartbeat, now=now, spawned=SPAWNED, limit_s=limit_s, uncharged_limit_s=100.0)


def test_a_worker_within_its_budget_goes_on() -> None:
    assert verdict(beat("train", 30, 1040), 1040) is None
    assert verdict(None, SPAWNED + 5) is None


def test_past_budget_and_grace_in_a_charged_part_is_a_timeout() -> None:
    assert verdict(beat("train", 69, 1075), 1075) is None
    found = verdict(beat("train", 71, 1075), 1075)
    assert found is not None
    assert (found.status, found.gently) == ("timeout", True)


def test_evaluation_has_its_own_limit() -> None:
    assert verdict(beat("eval", 71, 1075), 1075) is None
    found = verdict(beat("eval", 60, 1165), 1165)
    assert found is not None
    assert found.status == "timeout"
    assert "--timeout" in found.reason


def test_waiting_for_jobs_that_measure_alone_is_no_time_of_the_jobs() -> None:
    waited = beat("eval", 60, 1165).model_copy(update={"waited_s": 50.0})
    assert verdict(waited, 1165) is None
    assert verdict(waited.model_copy(update={"waited_s": 4.0}), 1165) is not None


def test_long_training_does_not_count_as_evaluation() -> None:
    assert verdict(beat("train", 5000, 6050), 6050, limit_s=6000) is None
    assert verdict(beat("train", 5000, 6050), 6050, limit_s=None) is None


@pytest.mark.parametrize("heartbeat", [None, beat("train", 1, SPAWNED)])
def test_silence_is_fatal(heartbeat: Heartbeat | None) -> None:
    found = verdict(heartbeat, SPAWNED + SILENCE_S + 1)
    assert found is not None
    assert (found.status, found.gently) == ("killed", False)


def foreseen(
    evaluation_s: float | None,
    *,
    charged_s: float = 2.0,
    progress: float = 0.1,
    draws: int = 16,
    limit_s: float | None = 20.0,
) -> str | None:
    heartbeat = Heartbeat(
        pid=1,
        charged_s=charged_s,
        progress=progress,
        evaluation_s=evaluation_s,
        evaluation_draws=draws,
    )
    return foresee(heartbeat, num_test=10_000, limit_s=limit_s, uncharged_limit_s=7200.0)


def test_an_evaluation_longer_than_training_is_told_with_its_draws() -> None:
    assert foreseen(310.0) == (
        "to evaluate 10,000 test examples with 16 draws each will take about 5.2 min, longer than "
        "training (20 s); fewer: --eval-draws"
    )
    assert foreseen(310.0, draws=1) == (
        "to evaluate 10,000 test examples will take about 5.2 min, longer than training (20 s)"
    )


def test_one_longer_than_its_limit_is_told_so() -> None:
    told = foreseen(4.4 * 3600)
    assert told is not None
    assert "longer than training (20 s) and than --timeout allows (2.0 h)" in told


@pytest.mark.parametrize("evaluation_s", [None, 5.0, 19.0])
def test_a_shorter_one_is_not(evaluation_s: float | None) -> None:
    assert foreseen(evaluation_s) is None


@pytest.mark.parametrize(
    ("progress", "charged_s", "limit_s", "told"),
    [
        (0.0, 0.0, 20.0, True),
        (0.0, 0.0, None, False),  # a budget of steps, of which none was taken yet
        (0.5, 10.0, None, True),
        (0.1, 10.0, None, False),
        (1.0, 20.0, None, True),
    ],
)
def test_the_length_of_training_is_foreseen_from_its_pace(
    progress: float, charged_s: float, limit_s: float | None, told: bool
) -> None:
    line = foreseen(30.0, progress=progress, charged_s=charged_s, limit_s=limit_s)
    assert (line is not None) == told


def test_short_waits_are_not_told() -> None:
    assert foreseen(9.0, progress=0.5, charged_s=0.1, limit_s=None) is None
