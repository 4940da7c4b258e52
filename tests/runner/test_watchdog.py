from __future__ import annotations

import pytest

from flowbench.runner.attempt import Heartbeat
from flowbench.runner.watchdog import SILENCE_S, Verdict, judge

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


def test_long_training_does_not_count_as_evaluation() -> None:
    assert verdict(beat("train", 5000, 6050), 6050, limit_s=6000) is None
    assert verdict(beat("train", 5000, 6050), 6050, limit_s=None) is None


@pytest.mark.parametrize("heartbeat", [None, beat("train", 1, SPAWNED)])
def test_silence_is_fatal(heartbeat: Heartbeat | None) -> None:
    found = verdict(heartbeat, SPAWNED + SILENCE_S + 1)
    assert found is not None
    assert (found.status, found.gently) == ("killed", False)
