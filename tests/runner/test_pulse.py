from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from flowbench.runner.attempt import AttemptDir
from flowbench.runner.pulse import INTERVAL_S, Pulse


@pytest.fixture
def pulse(tmp_path: Path) -> Pulse:
    clock = SimpleNamespace(charged_s=0.0, part="train")
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
