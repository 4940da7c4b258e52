r"""Ranks the contenders of one column. Pure: numbers in, places out.

The rules, in the order in which they apply:

1. *Like with like.* Contenders are ranked together only if all that bears on the number is alike:
   data, measure, conditioning, protocol, budget and, where time is the budget, the hardware. `Like`
   holds those facts. The largest group of its like is ranked; the others keep their values and
   have no place.
2. *Over seeds.* A contender's value is the mean over its n runs that ended well, with the interval
   :math:`\pm t_{0.975,\,n-1}\, s / \sqrt n`. One run has no such interval, and says so.
3. *Places.* A place is one more than the number of contenders with a strictly better mean.
4. *Ties.* Each is held against the best alone, so ties never chain: by Welch's interval where both
   have several runs; where one has a single run, by the interval for one more draw from the other's
   runs; where both have a single run, by the paired interval over test examples, which knows
   nothing of the seed and is marked so. Times, rates and sizes are held on a log scale, counts are
   equal or not. One ties iff the 95 % interval of its difference contains 0 and half of it is at
   most 10 % (log scale), 0.05 bits or nats, or 10 % of the best value.
5. *Too few runs.* Where that interval contains 0 and is wider, nothing is known, and there is no
   place. Nor has the best one where its own interval is as wide and keeps another from a place.
   Nor have two single runs whose difference has no interval, for want of examples to pair: the
   best of such has no place, and nothing ties with it.
6. *Failures take part.* They have a status in place of a value, and no place.

References:
    Welch (1947), The generalization of Student's problem when several different population
    variances are involved, Biometrika 34, https://doi.org/10.1093/biomet/34.1-2.28.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from statistics import fmean, variance
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from flowbench.api.specs import Direction
from flowbench.api.units import LIKELIHOOD_UNITS

CONFIDENCE = 0.95
POWER = 0.8
MOST_SEEDS = 1000  # more is no plan
Ruler = Literal["linear", "log", "exact"]
"""What differences are taken on; with ``exact`` two values are equal or not."""

TIE_RULE = (
    "Bold ties with the best: the 95 % interval of the difference contains 0, and half of it is at "
    "most 10 % (times, rates, sizes, on a log scale), 0.05 bits or nats, or 10 % of the best value."
    " Where it is wider, or a single run has none, there are too few runs to rank."
)
"""The rules of ties for who reads a board."""

_WIDEST_SHARE = 0.1
_WIDEST_LIKELIHOOD = 0.05


@dataclass(frozen=True)
class Like:
    """Everything that two values must share to be ranked together.

    Attributes:
        facts: Pairs of what and how, e.g. ``("measure", "discrete")``, sorted.
    """

    facts: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, **facts: object) -> Like:
        """Builds it from named facts; those that are None do not bear on the number."""
        return cls(tuple(sorted((k, str(v)) for k, v in facts.items() if v is not None)))

    def unlike(self, other: Like) -> tuple[tuple[str, str, str], ...]:
        """What keeps two values apart.

        Returns:
            Triples of the fact, how it is here and how it is there; ``"–"`` where it is not.
        """
        here, there = dict(self.facts), dict(other.facts)
        return tuple(
            (fact, here.get(fact, "–"), there.get(fact, "–"))
            for fact in sorted(here.keys() | there.keys())
            if here.get(fact) != there.get(fact)
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one seed came to.

    Attributes:
        value: The measured value; None if there is none.
        status: ``ok``, or why there is no value.
        examples: The value of each test example in the same unit, shape (N,), where the value is
            their mean.
        seed: The seed, by which two contenders can be paired.
    """

    value: float | None
    status: str = "ok"
    seed: int | None = None
    examples: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Contender:
    """What one row brings to a contest.

    Attributes:
        row: The row's key.
        like: What it can be ranked with.
        outcomes: One for each seed.
    """

    row: str
    like: Like
    outcomes: tuple[Outcome, ...]

    @property
    def values(self) -> tuple[float, ...]:
        """The values of the seeds that have one."""
        return tuple(one.value for one in self.outcomes if one.value is not None)

    @property
    def by_seed(self) -> dict[int, float]:
        """The same by seed, where that is known."""
        return {
            one.seed: one.value
            for one in self.outcomes
            if one.seed is not None and one.value is not None
        }

    def of_seeds(self, seeds: Collection[int]) -> Contender:
        """What it brings of some seeds alone."""
        return replace(self, outcomes=tuple(one for one in self.outcomes if one.seed in seeds))

    @property
    def status(self) -> str:
        """``ok`` if any seed has a value, else the commonest reason why none has."""
        if self.values or not self.outcomes:
            return "ok" if self.values else "none"
        counts = Counter(one.status for one in self.outcomes)
        return min(counts, key=lambda status: (-counts[status], status))


@dataclass(frozen=True, kw_only=True)
class Place:
    """What becomes of a contender.

    Attributes:
        row: The row's key.
        status: ``ok`` if there is a value.
        mean: Mean over the seeds with a value.
        half_width: Half the 95 % interval over seeds; None unless n > 1.
        n: Seeds with a value.
        failed: Statuses of the seeds without one.
        rank: One more than the number of better means among its like; None if unranked.
        best: It is the best or ties with it, and at least two compete.
        tied: It shares that with another.
        too_few: Its runs are too few to tell it from the best, or to call it equal: unranked.
        by_examples: The tie was judged by test examples, and knows nothing of other seeds.
        unlike: What keeps it from being ranked, if it has a value and is not alike: triples of the
            fact, how it is here and how it is among those ranked.
    """

    row: str
    status: str
    mean: float | None = None
    half_width: float | None = None
    n: int = 0
    failed: tuple[str, ...] = ()
    rank: int | None = None
    best: bool = False
    tied: bool = False
    too_few: bool = False
    by_examples: bool = False
    unlike: tuple[tuple[str, str, str], ...] = ()

    @property
    def label(self) -> str:
        """The place as it is written: ``1=`` for ties with the best, ``–`` without one."""
        if self.rank is None:
            return "–"
        return "1=" if self.tied else str(self.rank)


def rank(
    contenders: Sequence[Contender],
    direction: Direction,
    ruler: Ruler = "linear",
    unit: str = "",
) -> tuple[Place, ...]:
    """Ranks the contenders of a column.

    Args:
        contenders: One for each row.
        direction: Which way is better; with ``none`` nothing is ranked.
        ruler: How two values are held against each other.
        unit: Unit of the values.

    Returns:
        The place of each, in the order given.
    """
    # One group alone has places: two first places in one column would contradict each other.
    like = _largest_group(contenders) if direction != "none" else None
    group = [one for one in contenders if one.values and one.like == like]
    best = _best(group, direction)
    ruler = fitting(ruler, group)
    gaps = {} if best is None else {one.row: difference(one, best, ruler) for one in group}
    unknown = {row for row, gap in gaps.items() if gap.freedom is None and ruler != "exact"}
    unsure = {row: gap for row, gap in gaps.items() if gap.contains_zero or row in unknown}
    ties = {}
    if best and (best.row not in unknown or len(group) == 1):
        widest = widest_tie(best, ruler, unit)
        sure = unsure.keys() - unknown
        ties = {row: unsure[row] for row in sure if unsure[row].half_width <= widest}
        if unsure.keys() - ties.keys() == {best.row}:
            ties[best.row] = gaps[best.row]  # however wide its own, no other comes near it
    # Of all that are alike, also of those without a place: a rank counts who is better.
    means = [fmean(one.values) for one in group]

    def place(one: Contender) -> Place:
        failed = tuple(sorted(outcome.status for outcome in one.outcomes if outcome.value is None))
        if not one.values:
            return Place(row=one.row, status=one.status, failed=failed)
        mean, competes = fmean(one.values), one.row in gaps
        tie, too_few = ties.get(one.row), one.row in unsure.keys() - ties.keys()
        ranked = competes and not too_few
        return Place(
            row=one.row,
            status="ok",
            mean=mean,
            half_width=half_width(one.values),
            n=len(one.values),
            failed=failed,
            rank=1 + sum(better_than(m, mean, direction) for m in means) if ranked else None,
            best=tie is not None and len(group) > 1,
            tied=tie is not None and len(ties) > 1,
            too_few=too_few,
            by_examples=tie is not None and tie.by_examples and one is not best,
            unlike=() if competes or like is None else one.like.unlike(like),
        )

    return tuple(map(place, contenders))


def fitting(ruler: Ruler, contenders: Sequence[Contender]) -> Ruler:
    """The ruler, or the linear one where a value has no logarithm."""
    no_log = any(value <= 0 for one in contenders for value in one.values)
    return "linear" if ruler == "log" and no_log else ruler


def widest_tie(best: Contender, ruler: Ruler, unit: str) -> float:
    """Half the widest interval by which something may be called equal to the best."""
    if ruler == "log":
        return math.log1p(_WIDEST_SHARE)
    return widest_difference(fmean(best.values), unit)


def widest_difference(value: float, unit: str) -> float:
    """How far from a value another may be that is called equal to it."""
    return _WIDEST_LIKELIHOOD if unit in LIKELIHOOD_UNITS else _WIDEST_SHARE * abs(value)


def prediction_half_width(values: Sequence[float]) -> float:
    """Half the 95 % interval for one more value like these; 0 for fewer than two."""
    n = len(values)
    return 0.0 if n < 2 else t_quantile(n - 1) * math.sqrt(variance(values) * (1.0 + 1.0 / n))


def _largest_group(contenders: Sequence[Contender]) -> Like | None:
    counts = Counter(one.like for one in contenders if one.values)
    # Between groups of one size the facts decide, so that row order never does.
    return min(counts, key=lambda like: (-counts[like], like.facts), default=None)


def _best(group: Sequence[Contender], direction: Direction) -> Contender | None:
    """The one with the best mean; of equal means that with the tightest interval."""
    sign = -1.0 if direction == "higher" else 1.0

    def order(one: Contender) -> tuple[float, float, str]:
        width = half_width(one.values)
        return (sign * fmean(one.values), math.inf if width is None else width, one.row)

    return min(group, key=order, default=None)


def better_than(value: float, other: float, direction: Direction) -> bool:
    """Whether a value is strictly better than another; never so with ``none``."""
    return (direction == "lower" and value < other) or (direction == "higher" and value > other)


def half_width(values: Sequence[float]) -> float | None:
    """Half the 95 % t-interval of the mean of independent values; None for fewer than two."""
    n = len(values)
    # One run tells nothing of the spread, and 0 would say that there is none.
    if n < 2:
        return None
    return t_quantile(n - 1) * math.sqrt(variance(values) / n)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference of two contenders' means, with its 95 % interval.

    Attributes:
        mean: The first's mean less the second's.
        stderr: Its standard error; 0 where nothing is known of the spread.
        freedom: Degrees of freedom of that; None where nothing is known of the spread.
        spread: Standard deviation of the difference of one seed each; None where seeds tell none.
        by_examples: The interval is over test examples, not over seeds.
    """

    mean: float
    stderr: float = 0.0
    freedom: float | None = None
    spread: float | None = None
    by_examples: bool = False

    @classmethod
    def of_pairs(cls, gaps: NDArray[np.float64], *, by_examples: bool = False) -> Difference:
        """The mean of the differences of at least two pairs, of seeds or of examples."""
        spread = float(gaps.std(ddof=1))
        return cls(
            mean=float(gaps.mean()),
            stderr=spread / math.sqrt(gaps.size),
            freedom=gaps.size - 1.0,
            spread=None if by_examples else spread,
            by_examples=by_examples,
        )

    @property
    def half_width(self) -> float:
        """Half the interval; 0 where nothing is known of the spread."""
        return 0.0 if self.freedom is None else t_quantile(self.freedom) * self.stderr

    @property
    def contains_zero(self) -> bool:
        """Whether the two may be equal."""
        return abs(self.mean) <= self.half_width

    @property
    def p_value(self) -> float | None:
        """How often so great a difference comes of chance alone, by a two-sided t-test.

        None where nothing is known of the spread, and where none was seen: values that repeat
        exactly leave nothing to chance, and no test can say how often they would not.
        """
        if self.freedom is None or self.stderr == 0.0:
            return None
        from scipy.special import stdtr

        return 2.0 * float(stdtr(self.freedom, -abs(self.mean) / self.stderr))


def difference(a: Contender, b: Contender, ruler: Ruler = "linear") -> Difference:
    """Compares two contenders that both have values.

    Args:
        a: The first.
        b: The second.
        ruler: On ``log`` the difference is that of logarithms: all values are positive.

    Returns:
        Their difference; without any knowledge of the spread only equal means count as equal.
    """
    if ruler == "log":
        # A factor between two times is a difference of their logarithms.
        return difference(_logarithms(a), _logarithms(b))
    mean = fmean(a.values) - fmean(b.values)
    if ruler == "exact":
        return Difference(mean=mean)
    if len(a.values) > 1 and len(b.values) > 1:
        return _welch(mean, a.values, b.values)
    if len(a.values) == len(b.values) == 1:
        gaps = gaps_of_examples(a, b)
        found = None if gaps is None else Difference.of_pairs(gaps, by_examples=True)
        return Difference(mean=mean) if found is None else replace(found, mean=mean)
    several = a.values if len(a.values) > 1 else b.values
    n, spread = len(several), math.sqrt(variance(several))
    # The one run is taken for a further draw from the other's runs: its own spread is not known.
    stderr = spread * math.sqrt(1 + 1 / n)
    return Difference(mean=mean, stderr=stderr, freedom=n - 1, spread=spread * math.sqrt(2))


def paired_difference(a: Contender, b: Contender, ruler: Ruler = "linear") -> Difference | None:
    """Compares two contenders seed by seed.

    Returns:
        The mean of the differences of the seeds that both have; None unless these are two.
    """
    if ruler == "log":
        return paired_difference(_logarithms(a), _logarithms(b))
    theirs = b.by_seed
    gaps = [value - theirs[seed] for seed, value in a.by_seed.items() if seed in theirs]
    return Difference.of_pairs(np.array(gaps)) if len(gaps) > 1 and ruler != "exact" else None


def _logarithms(one: Contender) -> Contender:
    logs = (
        replace(outcome, value=math.log(outcome.value))
        for outcome in one.outcomes
        if outcome.value is not None
    )
    return replace(one, outcomes=tuple(logs))


def gaps_of_examples(a: Contender, b: Contender) -> NDArray[np.float64] | None:
    """Differences of the means over runs, test example by test example, shape (N,).

    None where not every run with a value has the same number of examples, or fewer than two.
    """
    runs = [[o.examples for o in one.outcomes if o.value is not None] for one in (a, b)]
    every = [examples for one in runs for examples in one if examples is not None]
    shapes = {examples.shape for examples in every}
    if len(every) < sum(map(len, runs)) or len(shapes) != 1 or every[0].size < 2:
        return None
    first, second = (np.mean(one, axis=0) for one in runs)  # type: ignore[arg-type]
    return np.asarray(first - second)


def _welch(mean: float, a: Sequence[float], b: Sequence[float]) -> Difference:
    """By Welch's interval, with the degrees of freedom of Welch and Satterthwaite."""
    va, vb = variance(a) / len(a), variance(b) / len(b)
    total, spread = va + vb, math.sqrt(variance(a) + variance(b))
    if total == 0.0:
        return Difference(mean=mean, freedom=len(a) + len(b) - 2, spread=spread)
    # In shares of the total, so that the squares of tiny variances do not vanish.
    freedom = 1.0 / ((va / total) ** 2 / (len(a) - 1) + (vb / total) ** 2 / (len(b) - 1))
    return Difference(mean=mean, stderr=math.sqrt(total), freedom=freedom, spread=spread)


def t_quantile(freedom: float) -> float:
    """The quantile of Student's t that bounds a central interval of 95 %.

    Args:
        freedom: Degrees of freedom, not necessarily whole.

    Returns:
        The quantile, e.g. 12.706 for 1 and 1.960 in the limit.
    """
    # Here, since a board without intervals needs no SciPy, which takes long to import.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + CONFIDENCE / 2))


def seeds_that_tell(
    spread: float, distance: float, level: float, power: float = POWER
) -> int | None:
    """Seeds after which a mean is told from a value that lies that far off.

    Args:
        spread: Standard deviation of what one seed gives.
        distance: Of the mean from the value, if both stay as they are.
        level: Of the two-sided t-test.
        power: How often the test is to see it.

    Returns:
        The number; None for more than `MOST_SEEDS`.
    """
    seeds = np.arange(2, MOST_SEEDS + 1)
    enough = seeds[_reach(level, power) * spread / np.sqrt(seeds) <= distance]
    return int(enough[0]) if enough.size else None


@cache
def _reach(level: float, power: float) -> NDArray[np.float64]:
    """How many standard errors a test of 2, 3, ... seeds reaches."""
    from scipy.special import stdtrit

    freedom = np.arange(1, MOST_SEEDS)
    return np.asarray(stdtrit(freedom, 1 - level / 2) + stdtrit(freedom, power))
