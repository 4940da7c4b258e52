"""Verdicts on synthetic seeds whose true effect is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from flowbench.leaderboard.board.verdicts import judge
from flowbench.suite.claims import Region

GREATER, EQUIVALENT = Region(low=0.5), Region(-0.5, 0.5)
SEEDS, TIMES = 5, 2000
Draw = Callable[[np.random.Generator], NDArray[np.float64]]


def normal(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.normal(size=SEEDS)


def heavy(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.standard_t(3, size=SEEDS)


def skewed(rng: np.random.Generator) -> NDArray[np.float64]:
    """Runs that are skewed alike: their differences are not."""
    one, other = rng.lognormal(size=(2, SEEDS))
    return np.asarray(one - other)


def two_modes(rng: np.random.Generator) -> NDArray[np.float64]:
    """Runs that end in one of two places."""
    return np.asarray(rng.choice([-1.0, 1.0], SEEDS) + rng.normal(0.0, 0.1, SEEDS))


def shares(effect: float, region: Region, draw: Draw = normal, scale: float = 1.0) -> Counter[str]:
    rng = np.random.default_rng(0)
    counts = Counter(
        judge((effect + scale * draw(rng)).tolist(), region).verdict for _ in range(TIMES)
    )
    return Counter({verdict: count / TIMES for verdict, count in counts.items()})


# At most 5 % are false; 2,000 draws know that to within a percent.
@pytest.mark.parametrize("draw", [normal, heavy, skewed, two_modes])
@pytest.mark.parametrize("region", [GREATER, EQUIVALENT])
def test_at_the_edge_of_a_claim_at_most_five_in_a_hundred_are_false(
    draw: Draw, region: Region
) -> None:
    found = shares(0.5, region, draw, scale=0.3)
    assert found["supported"] < 0.05
    # Five seeds that end in one of two places agree by chance once in 16: no test can see that.
    most = 0.06 if draw is not two_modes else 1 / 16 + 0.01
    assert found["supported"] + found["contradicted"] < most


@pytest.mark.parametrize("draw", [normal, heavy, skewed, two_modes])
def test_without_any_effect_hardly_a_claim_is_supported(draw: Draw) -> None:
    assert shares(0.0, GREATER, draw)["supported"] < 0.05
    assert shares(0.5, EQUIVALENT, draw, scale=0.01)["supported"] < 0.06


def test_power_is_what_theory_says() -> None:
    # Of an effect that lies two spreads inside, five seeds see 91 %.
    freedom, shift = SEEDS - 1, 2.0 * np.sqrt(SEEDS)
    expected = 1 - stats.nct.cdf(stats.t.ppf(0.975, freedom), freedom, shift)
    assert shares(2.5, GREATER)["supported"] == pytest.approx(expected, abs=0.02)
    assert expected == pytest.approx(0.91, abs=0.005)  # as the docs say
    assert shares(-1.5, GREATER)["contradicted"] == pytest.approx(expected, abs=0.02)
    assert shares(0.0, EQUIVALENT, scale=0.1)["supported"] > 0.95
    assert shares(1.0, EQUIVALENT, scale=0.1)["contradicted"] > 0.95


def test_a_verdict_is_what_the_interval_shows() -> None:
    effects = [0.9, 1.1, 1.0, 1.2, 0.8]
    interval = stats.ttest_1samp(effects, 0.0).confidence_interval(0.95)
    found = judge(effects, GREATER)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.verdict == "supported"
    assert found.p_value == pytest.approx(stats.ttest_1samp(effects, 0.5).pvalue)
    assert judge(effects, Region(low=1.0)).verdict == "undecided"
    assert judge(effects, Region(low=1.5)).verdict == "contradicted"
    assert judge(effects, Region(high=1.5)).verdict == "supported"
    # Two one-sided tests: the worse of both counts.
    both = judge(effects, Region(0.5, 1.3))
    assert both.p_value == pytest.approx(stats.ttest_1samp(effects, 1.3).pvalue)


def test_seeds_that_agree_exactly_decide_without_chance() -> None:
    for value, verdict in ((1.0, "supported"), (0.5, "supported"), (0.4, "contradicted")):
        found = judge([value] * 3, GREATER)
        assert (found.verdict, found.p_value, found.more_seeds) == (verdict, None, None)


def test_one_seed_or_none_decides_nothing() -> None:
    assert judge([], GREATER).verdict == "undecided"
    one = judge([9.0], GREATER)
    assert (one.verdict, one.effect, one.low, one.p_value) == ("undecided", 9.0, None, None)


def test_a_diverged_run_keeps_its_seeds_fellows_from_a_verdict_against_it() -> None:
    good = [0.9, 1.1, 1.0, 1.2]
    assert judge(good, GREATER, {"supported"}).verdict == "undecided"
    assert judge(good, GREATER, {"supported"}).p_value == 1.0
    assert judge(good, GREATER, {"contradicted"}).verdict == "supported"


def test_so_many_more_seeds_decide_with_a_power_of_four_fifths() -> None:
    effects = np.array([0.1, 1.3, 0.9, 0.6, 0.8])
    found = judge(effects.tolist(), GREATER)
    assert found.verdict == "undecided"
    assert found.more_seeds is not None
    num = SEEDS + found.more_seeds
    spread, distance = effects.std(ddof=1), effects.mean() - 0.5
    for seeds, is_enough in ((num, True), (num - 2, False)):
        power = 1 - stats.nct.cdf(
            stats.t.ppf(0.975, seeds - 1), seeds - 1, distance / spread * np.sqrt(seeds)
        )
        assert (power > 0.79) == is_enough
    assert judge([0.4, 0.6], GREATER).more_seeds is None  # at the very edge none would do
