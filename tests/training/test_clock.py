from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from flowbench.training.clock import CHARGED, PARTS, Clock, Part


class FakeTime:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_second_is_charged_to_exactly_one_part() -> None:
    time = FakeTime()
    clock = Clock(time, begin=95.0)
    time.now += 2
    with clock.timing("train"):
        time.now += 3
        with clock.timing("eval"):
            time.now += 5
        time.now += 1
    time.now += 0.5
    ledger = clock.ledger()
    assert ledger["start"] == 7.5
    assert ledger["train"] == 4
    assert ledger["eval"] == 5
    assert clock.charged_s == 4


def test_the_running_part_counts_already() -> None:
    time = FakeTime()
    clock = Clock(time)
    clock.switch("train")
    time.now += 3
    assert clock.charged_s == 3
    clock.switch("eval")
    time.now += 3
    assert clock.charged_s == 3


def test_it_survives_resume() -> None:
    time = FakeTime()
    first = Clock(time)
    with first.timing("train"):
        time.now += 4
    second = Clock(time)
    second.carry(first.ledger(), None)
    with second.timing("train"):
        time.now += 2
    assert second.charged_s == 6


@given(st.lists(st.tuples(st.sampled_from(PARTS), st.floats(0, 10)), max_size=30))
def test_parts_sum_to_the_wall_time(switches: list[tuple[Part, float]]) -> None:
    time = FakeTime()
    clock = Clock(time)
    for part, seconds in switches:
        clock.switch(part)
        time.now += seconds
    ledger = clock.ledger()
    assert math.isclose(sum(ledger.values()), time.now - 100.0, abs_tol=1e-9)
    assert math.isclose(clock.charged_s, sum(ledger[p] for p in CHARGED), abs_tol=1e-9)
