from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from flowbench.api.specs import Direction
from flowbench.leaderboard.board.ranking import (
    Contender,
    Like,
    Outcome,
    Place,
    Ruler,
    better_than,
    difference,
    half_width,
    rank,
    t_quantile,
)

LIKE = Like.of(measure="discrete")


def contender(
    row: str,
    values: Sequence[float | None],
    like: Like = LIKE,
    examples: NDArray[np.float64] | None = None,
) -> Contender:
    outcomes = tuple(
        Outcome(value=v, status="diverged" if v is None else "ok", examples=examples)
        for v in values
    )
    return Contender(row=row, like=like, outcomes=outcomes)


def places(contenders: Sequence[Contender], direction: Direction = "lower") -> dict[str, Place]:
    return {place.row: place for place in rank(contenders, direction)}


# --- intervals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (2, 4.303), (9.5, 2.244)])
def test_t_quantiles_are_those_of_the_tables(freedom: float, quantile: float) -> None:
    assert t_quantile(freedom) == pytest.approx(quantile, abs=5e-4)


def test_the_interval_of_a_mean_is_students() -> None:
    values = [3.1, 2.9, 3.4, 3.0]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2)
    assert half_width([3.1]) is None


def test_the_interval_of_a_difference_is_welchs() -> None:
    a, b = [2.01, 2.04, 2.02], [2.10, 2.02, 2.07, 2.06]
    low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    found = difference(contender("a", a), contender("b", b))
    assert found.mean - found.half_width == pytest.approx(low)
    assert found.mean + found.half_width == pytest.approx(high)


def test_two_single_runs_are_compared_example_by_example() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0.0, 5.0, size=400)  # what both find hard cancels
    a, b = 2.0 + hard, 2.05 + hard + rng.normal(0.0, 0.1, size=400)
    first = contender("a", [float(a.mean())], examples=a)
    second = contender("b", [float(b.mean())], examples=b)
    low, high = stats.ttest_rel(a, b).confidence_interval(0.95)
    found = difference(first, second)
    assert found.by_examples
    assert not found.contains_zero
    assert found.half_width == pytest.approx((high - low) / 2)


@pytest.mark.parametrize(
    ("runs", "ruler", "labels"),
    [
        ([[2.0], [3.0], [900.0]], "linear", "–––"),
        ([[2.0], [2.0]], "log", "––"),  # nor is it known of equals
        ([[2.0], [3.0]], "exact", "12"),
        ([[2.0]], "linear", "1"),  # no contest
        ([[2.0], [9.0, 9.1]], "linear", "–2"),  # whatever the best one's next run would give
        ([[2.0], [2.00, 2.01]], "linear", "––"),  # nothing ties with what has no place
        ([[2.0, 2.1], [9.0]], "linear", "12"),
    ],
)
def test_a_single_run_without_examples_is_too_few(
    runs: list[list[float]], ruler: Ruler, labels: str
) -> None:
    given = [contender(f"row{i}", values) for i, values in enumerate(runs)]
    found = rank(given, "lower", ruler)
    assert "".join(place.label for place in found) == labels
    assert [place.too_few for place in found] == [label == "–" for label in labels]
    is_contest = len(runs) > 1
    assert [place.best for place in found] == [is_contest and label == "1" for label in labels]


def test_a_single_run_is_held_against_one_more_draw_of_the_others() -> None:
    several, n = [2.00, 2.01, 2.02], 3
    spread = stats.t.ppf(0.975, 2) * np.std(several, ddof=1) * math.sqrt(1 + 1 / n)
    assert difference(contender("a", [2.05]), contender("b", several)).half_width == pytest.approx(
        spread
    )


# --- ties -----------------------------------------------------------------------------------------


def test_ties_are_not_chained() -> None:
    steps = [2.00, 2.03, 2.06]
    wide = [contender(f"{mean}", [mean - 0.02, mean, mean + 0.02]) for mean in steps]
    assert difference(wide[0], wide[1]).contains_zero
    assert difference(wide[1], wide[2]).contains_zero
    assert not difference(wide[0], wide[2]).contains_zero
    found = places(wide)
    assert [found[e.row].label for e in wide] == ["1=", "1=", "3"]


@pytest.mark.parametrize(
    ("first", "second", "ruler", "unit", "labels"),
    [
        ([100.0, 101.0, 99.0], [103.0, 102.0, 101.5], "log", "ms", "12"),
        ([100.0, 102.0, 98.0], [103.0, 100.0, 101.0], "log", "ms", "=="),
        ([100.0, 150.0, 50.0], [5000.0, 5100.0, 4900.0], "log", "ms", "12"),
        ([100.0, 150.0, 50.0], [110.0, 160.0, 60.0], "log", "ms", "––"),
        ([100.0, 101.0, 99.0], [110.0, 160.0, 60.0], "log", "ms", "1–"),
        ([2.00, 2.01, 2.02], [2.01, 2.02, 2.03], "linear", "bits/dim", "=="),
        ([2.00, 2.05, 2.10], [2.06, 2.05, 2.08], "linear", "bits/dim", "––"),
        ([86.59, 76.53], [90.0, 80.0], "linear", "", "––"),
        ([80.0, 80.2, 80.1], [80.0, 80.4, 80.2], "linear", "", "=="),
        ([7.0, 7.0], [7.0, 8.0], "exact", "", "12"),
    ],
)
def test_a_tie_needs_evidence_on_a_scale_that_fits(
    first: list[float], second: list[float], ruler: Ruler, unit: str, labels: str
) -> None:
    found = rank([contender("a", first), contender("b", second)], "lower", ruler, unit)
    assert "".join(place.label[-1] for place in found) == labels
    assert [place.too_few for place in found] == [label == "–" for label in labels]
    assert [place.best for place in found] == [label in "=1" for label in labels]


def test_one_value_alone_is_no_contest() -> None:
    found = places([contender("a", [2.0, 2.1]), contender("b", [None])])
    assert not found["a"].best
    assert found["a"].label == "1"


# --- failures -------------------------------------------------------------------------------------


def test_a_failed_entry_is_shown_as_failed_and_has_no_place() -> None:
    found = places([contender("a", [2.0]), contender("b", [None, None])])
    assert (found["b"].status, found["b"].label, found["b"].mean) == ("diverged", "–", None)


def test_a_mean_over_the_survivors_says_who_is_missing() -> None:
    found = places([contender("a", [2.0, None, 2.2])])
    assert (found["a"].n, found["a"].failed) == (2, ("diverged",))
    assert found["a"].mean == pytest.approx(2.1)


# --- like with like -------------------------------------------------------------------------------


def test_unlike_contenders_keep_their_values_and_no_place() -> None:
    other = Like.of(measure="continuous")
    found = places(
        [contender("a", [2.0, 2.0]), contender("b", [2.1, 2.1]), contender("c", [1.0], other)]
    )
    assert found["c"].rank is None
    assert not found["c"].best
    assert found["c"].mean == 1.0
    assert found["c"].unlike == (("measure", "continuous", "discrete"),)
    assert found["a"].rank == 1


def test_facts_that_are_none_do_not_bear() -> None:
    assert Like.of(a=1, hardware=None) == Like.of(a=1)
    assert Like.of(a=1).unlike(Like.of(a=1, b=2)) == (("b", "–", "2"),)


def test_without_a_direction_nothing_is_ranked() -> None:
    found = places([contender("a", [1.0]), contender("b", [2.0])], "none")
    assert all(place.rank is None and not place.best for place in found.values())
    assert not any(place.unlike for place in found.values())


# --- what holds of every column -------------------------------------------------------------------

values = st.lists(st.none() | st.floats(-10, 10).map(lambda x: round(x, 2)), min_size=1, max_size=4)
columns = st.lists(
    st.tuples(values, st.sampled_from([LIKE, Like.of(measure="continuous")])), max_size=7
).map(lambda rows: [contender(f"row{i}", v, like) for i, (v, like) in enumerate(rows)])
directions: st.SearchStrategy[Direction] = st.sampled_from(["lower", "higher"])


@given(columns, directions, st.randoms())
def test_the_order_of_rows_does_not_matter(
    contenders: list[Contender], direction: Direction, shuffle: random.Random
) -> None:
    before = places(contenders, direction)
    shuffled = list(contenders)
    shuffle.shuffle(shuffled)
    assert places(shuffled, direction) == before


@given(columns, directions)
def test_a_better_mean_never_ranks_worse(contenders: list[Contender], direction: Direction) -> None:
    ranked = [p for p in places(contenders, direction).values() if p.rank is not None]
    for a in ranked:
        for b in ranked:
            assert a.mean is not None
            assert b.mean is not None
            assert a.rank is not None
            assert b.rank is not None
            if better_than(a.mean, b.mean, direction):
                assert a.rank < b.rank
            elif a.mean == b.mean:
                assert a.rank == b.rank


@given(columns, directions)
def test_the_best_is_first_and_marked_iff_it_competes(
    contenders: list[Contender], direction: Direction
) -> None:
    found = places(contenders, direction).values()
    compete = [p for p in found if p.mean is not None and not p.unlike]
    first = [p for p in compete if p.rank == 1]
    assert bool(first) == any(not p.too_few for p in compete) or any(p.too_few for p in compete)
    assert all(p.best == (len(compete) > 1) for p in first)
    assert sum(p.tied for p in compete) != 1
    assert not any(p.best and p.too_few for p in compete)


@given(columns, directions)
def test_only_like_contenders_share_a_ranking(
    contenders: list[Contender], direction: Direction
) -> None:
    found = places(contenders, direction)
    assert len({e.like for e in contenders if found[e.row].rank is not None}) <= 1
    for e in contenders:
        place = found[e.row]
        assert (place.mean is None) == (not e.values)
        assert place.n + len(place.failed) == len(e.outcomes)
        assert (place.rank is None) == (place.mean is None or bool(place.unlike) or place.too_few)


@given(columns)
def test_directions_mirror_each_other(contenders: list[Contender]) -> None:
    mirrored = [
        Contender(
            row=e.row,
            like=e.like,
            outcomes=tuple(
                Outcome(value=None if one.value is None else -one.value, status=one.status)
                for one in e.outcomes
            ),
        )
        for e in contenders
    ]
    one, other = places(contenders, "lower"), places(mirrored, "higher")
    assert {r: p.label for r, p in one.items()} == {r: p.label for r, p in other.items()}
