from __future__ import annotations

import pytest

from flowbench.training.looks import LOOK_SHARE, VALIDATE_AT, Looks


def taken(looks: Looks, seconds: float, scores: int = 1) -> list[float]:
    """Where a training of a thousand steps looks, if a score takes so long."""
    places = []
    for step in range(1000):
        progress = step / 1000
        if looks.due(progress):
            places.append(progress)
            many = 1 if not step or looks.averaged_alone else scores
            looks.taken(progress, seconds * many)
    return places


@pytest.mark.parametrize(("limit_s", "seconds"), [(None, 100.0), (60.0, 0.01), (60.0, 0.0)])
def test_cheap_looks_are_all_taken(limit_s: float | None, seconds: float) -> None:
    looks = Looks(limit_s, 2)
    assert taken(looks, seconds, 2) == list(VALIDATE_AT)
    assert not looks.averaged_alone


@pytest.mark.parametrize("seconds", [0.2, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("scores", [1, 2])
def test_looks_keep_to_their_share(seconds: float, scores: int) -> None:
    looks = Looks(60.0, scores)
    places = taken(looks, seconds, scores)
    assert looks.spent_s + seconds <= LOOK_SHARE * 60.0  # with the last look, which comes after
    assert 1 <= len(places) < len(VALIDATE_AT)
    assert set(places) <= set(VALIDATE_AT)
    assert looks.averaged_alone == (scores == 2)


def test_looks_that_exceed_the_share_are_two() -> None:
    assert taken(Looks(20.0, 2), 5.0) == [0.0]  # and the last


def test_the_looks_that_are_left_are_spread_over_what_is_left() -> None:
    places = taken(Looks(60.0, 1), 1.0)
    assert places == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8], abs=0.051)


def test_a_first_look_that_was_slow_does_not_decide_for_all() -> None:
    looks = Looks(60.0, 1)
    looks.taken(0.0, 2.0)
    assert len(taken_after(looks, 0.01)) > 5


def taken_after(looks: Looks, seconds: float) -> list[float]:
    places = []
    for step in range(1, 1000):
        if looks.due(step / 1000):
            places.append(step / 1000)
            looks.taken(step / 1000, seconds)
    return places


def test_a_resumed_plan_goes_on() -> None:
    first, second = Looks(60.0, 2), Looks(60.0, 2)
    first.taken(0.0, 1.0)
    second.load_state_dict(first.state_dict())
    assert taken_after(first, 1.0) == taken_after(second, 1.0)
