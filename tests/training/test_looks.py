from __future__ import annotations

import pytest

from flowbench.training.looks import LOOK_SHARE, SMALL, VALIDATE_AT, Looks


def taken(looks: Looks, seconds: float, scores: int = 1, begin: int = 0) -> list[float]:
    """Where a training of a thousand steps looks, if a whole score takes so long."""
    places = []
    for step in range(begin, 1000):
        progress = step / 1000
        if looks.due(progress):
            places.append(progress)
            many = 1 if not step or looks.averaged_alone else scores
            looks.taken(progress, seconds * looks.part * many)
    return places


@pytest.mark.parametrize(("limit_s", "seconds"), [(None, 100.0), (60.0, 0.01), (60.0, 0.0)])
def test_cheap_looks_are_all_taken(limit_s: float | None, seconds: float) -> None:
    looks = Looks(limit_s, 2)
    assert taken(looks, seconds, 2) == list(VALIDATE_AT)
    assert not looks.averaged_alone
    assert looks.part == 1.0


@pytest.mark.parametrize("seconds", [0.2, 0.5, 1.0, 2.0, 5.0, 10.0])
@pytest.mark.parametrize("scores", [1, 2])
def test_looks_keep_to_their_share(seconds: float, scores: int) -> None:
    looks = Looks(60.0, scores)
    places = taken(looks, seconds, scores)
    last = seconds * looks.part * (1 if looks.averaged_alone else scores)
    assert looks.spent_s + last <= LOOK_SHARE * 60.0 + 1e-9
    assert 1 <= len(places) < len(VALIDATE_AT)
    assert set(places) <= set(VALIDATE_AT)
    assert looks.averaged_alone == (scores == 2 and len(places) > 1)
    assert looks.part == 1.0 or len(places) <= 5


def test_a_look_of_which_not_even_a_few_fit_is_a_part_of_one() -> None:
    looks = Looks(20.0, 2)
    assert len(taken(looks, 2.0, 2)) >= 3  # and the last
    assert SMALL < looks.part < 0.3


def test_looks_that_exceed_the_share_are_small_and_as_few_as_can_be() -> None:
    looks = Looks(20.0, 2)
    assert taken(looks, 50.0) == [0.0]  # and the last
    assert looks.part == SMALL


def test_without_a_limit_of_time_every_look_is_whole() -> None:
    looks = Looks(None, 2)
    looks.taken(0.0, 1e6)
    assert looks.part == 1.0


def test_the_looks_that_are_left_are_spread_over_what_is_left() -> None:
    places = taken(Looks(60.0, 1), 1.0)
    assert places[:2] == [0.0, 0.05]
    gaps = [b - a for a, b in zip(places[1:], [*places[2:], 1.0], strict=True)]
    assert max(gaps) - min(gaps) < 0.11


def test_a_first_look_that_was_slow_does_not_decide_for_all() -> None:
    looks = Looks(60.0, 1)
    looks.taken(0.0, 2.0)
    assert len(taken(looks, 0.01, begin=1)) > 5
    assert looks.part == 1.0


def test_a_resumed_plan_goes_on() -> None:
    first, second = Looks(60.0, 2), Looks(60.0, 2)
    for progress in (0.0, 0.02):
        first.taken(progress, 1.0)
    second.load_state_dict(first.state_dict())
    assert taken(first, 8.0, 2, begin=21) == taken(second, 8.0, 2, begin=21)
    assert first.part == second.part < 1.0
