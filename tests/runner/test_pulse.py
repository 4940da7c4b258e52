from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from flowbench.runner.attempt import AttemptDir
from flowbench.runner.pulse import INTERVAL_S, Pulse


@pytest.fixture
def pulse(tmp_path: Path) -> Pulse:
    clock = SimpleNamespace(charged_s=0.0, waited_s=0.0, part="train")
    beating = Pulse(AttemptDir(tmp_path), clock)
    beating.stop()  # the thread; the rate is asked for by hand
    return beating


def test_rate_is_steps_over_the_seconds_charged_for_them(pulse: Pulse) -> None:
    pulse.step = 30
    assert pulse._rate(2.0) == 15.0


def test_a_step_that_was_hardly_charged_yet_keeps_the_last_rate(pulse: Pulse) -> None:
    pulse.step = 30
    pulse._rate(2.0)
    pulse.step = 31
    assert pulse._rate(2.0 + INTERVAL_S / 1000) == 15.0
    pulse.step = 40
    assert pulse._rate(3.0) == 10.0


def test_a_training_says_what_it_does_and_how_long_it_still_takes(pulse: Pulse) -> None:
    pulse.now("training")
    pulse._clock.charged_s, pulse.progress = 30.0, 0.25
    beat = pulse._heartbeat()
    assert (beat.phase, beat.done, beat.left_s) == ("training", 0.25, 90.0)
    pulse._clock.part = "eval"
    assert (pulse._heartbeat().phase, pulse._heartbeat().left_s) == ("looking", 90.0)
    pulse._clock.part = "wait"
    assert pulse._heartbeat().phase == "paused"


def test_nothing_is_said_of_time_before_a_hundredth_is_done(pulse: Pulse) -> None:
    pulse.now("training")
    assert pulse._heartbeat().left_s is None
    pulse.now("measuring", "flops")
    assert (pulse._heartbeat().done, pulse._heartbeat().left_s) == (None, None)


def test_work_within_a_metric_is_told_until_its_end(
    pulse: Pulse, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("flowbench.runner.pulse.time.monotonic", lambda: now[0])
    pulse.now("measuring", "fid")
    pulse.within("sampling", 0.0)
    now[0] = 110.0
    pulse.within("sampling", 0.2)
    beat = pulse._heartbeat()
    assert (beat.phase, beat.detail, beat.done) == ("sampling", "fid", 0.2)
    assert beat.left_s == pytest.approx(40.0)
    pulse.within("sampling", 1.0)
    assert pulse._heartbeat().doing == "measuring fid"
    pulse.within("evaluating", 0.5)
    assert pulse._heartbeat().left_s == 0.0  # begun this moment
    pulse.now("measuring", "kid")
    assert pulse._heartbeat().doing == "measuring kid"


def test_the_last_heartbeat_says_where_the_worker_ended(pulse: Pulse, tmp_path: Path) -> None:
    pulse.step, pulse.score = 7, 2.5
    pulse.stop()
    last = AttemptDir(tmp_path).heartbeat()
    assert last is not None
    assert (last.step, last.score) == (7, 2.5)
