r"""Ranks the entries of one column. Pure: numbers in, places out.

The rules, in the order in which they apply:

1. *Like with like.* Entries are ranked together only if all that bears on the number is alike:
   data, measure, conditioning, protocol, budget and, where time is the budget, the hardware. `Like`
   holds those facts. The largest group of like entries is ranked; the others keep their values and
   have no place.
2. *Over seeds.* An entry's value is the mean over its n runs that ended well, with the interval
   :math:`\pm t_{0.975,\,n-1}\, s / \sqrt n`. One run has no such interval, and says so.
3. *Places.* An entry's place is one more than the number of entries with a strictly better mean.
4. *Ties.* An entry ties with the best iff the 95 % interval of their difference contains 0: Welch's
   interval where both have several runs; where one has a single run, the interval for one more
   draw from the other's runs; where both have a single run, the paired interval over test examples,
   which knows nothing of the seed and is marked so. Every entry is held against the best alone, so
   ties never chain.
5. *Failures are entries.* They have a status in place of a value, and no place.

References:
    Welch (1947), The generalization of Student's problem when several different population
    variances are involved, Biometrika 34, https://doi.org/10.1093/biomet/34.1-2.28.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, variance

import numpy as np
from numpy.typing import NDArray

from flowbench.api.specs import Direction

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Like:
    """Everything that two values must share to be ranked together.

    Attributes:
        facts: Pairs of what and how, e.g. ``("measure", "discrete")``, sorted.
    """

    facts: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, **facts: object) -> Like:
        """Builds it from named facts; those that are None do not bear on the number.

        Args:
            facts: The facts.

        Returns:
            The sorted pairs.
        """
        return cls(tuple(sorted((k, str(v)) for k, v in facts.items() if v is not None)))

    def unlike(self, other: Like) -> tuple[tuple[str, str, str], ...]:
        """What keeps two values apart.

        Args:
            other: What the other value shares with its like.

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
class Run:
    """One seed's part in an entry.

    Attributes:
        value: The measured value; None if there is none.
        status: ``ok``, or why there is no value.
        examples: The value of each test example in the same unit, shape (N,), where the value is
            their mean.
    """

    value: float | None
    status: str = "ok"
    examples: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row's part in a column.

    Attributes:
        row: The row's key.
        like: What it can be ranked with.
        runs: Its runs, one a seed.
    """

    row: str
    like: Like
    runs: tuple[Run, ...]

    @property
    def values(self) -> tuple[float, ...]:
        """The values of the runs that have one."""
        return tuple(run.value for run in self.runs if run.value is not None)

    @property
    def status(self) -> str:
        """``ok`` if any run has a value, else the commonest reason why none has."""
        if self.values or not self.runs:
            return "ok" if self.values else "none"
        counts = Counter(run.status for run in self.runs)
        return min(counts, key=lambda status: (-counts[status], status))


@dataclass(frozen=True, kw_only=True)
class Place:
    """What becomes of an entry.

    Attributes:
        row: The row's key.
        status: ``ok`` if there is a value.
        mean: Mean over the runs with a value.
        half_width: Half the 95 % interval over seeds; None unless n > 1.
        n: Runs with a value.
        failed: Statuses of the runs without one.
        rank: One more than the number of better means among like entries; None if unranked.
        best: It is the best or ties with it, and at least two entries compete.
        tied: It shares that with another.
        by_examples: The tie was judged by test examples, and knows nothing of other seeds.
        unlike: What keeps it from being ranked, if it has a value and is not alike: triples of the
            fact, how it is here and how it is among the ranked entries.
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
    by_examples: bool = False
    unlike: tuple[tuple[str, str, str], ...] = ()

    @property
    def label(self) -> str:
        """The place as it is written: ``1=`` for ties with the best, ``–`` without one."""
        if self.rank is None:
            return "–"
        return "1=" if self.tied else str(self.rank)


def rank(entries: Sequence[Entry], direction: Direction) -> tuple[Place, ...]:
    """Ranks the entries of a column.

    Args:
        entries: One entry a row.
        direction: Which way is better; with ``none`` nothing is ranked.

    Returns:
        The place of each entry, in the order given.
    """
    contest = _Contest.among(entries, direction)
    return tuple(_place(entry, contest) for entry in entries)


@dataclass(frozen=True, kw_only=True)
class _Contest:
    """What decides places: the entries that compete, and how each stands to the best of them."""

    direction: Direction
    like: Like | None
    means: tuple[float, ...]
    best: str | None
    ties: Mapping[str, Difference]

    @classmethod
    def among(cls, entries: Sequence[Entry], direction: Direction) -> _Contest:
        like = _largest_group(entries) if direction != "none" else None
        group = [entry for entry in entries if entry.values and entry.like == like]
        best = _best(group, direction)
        gaps = {} if best is None else {entry.row: difference(entry, best) for entry in group}
        return cls(
            direction=direction,
            like=like,
            means=tuple(fmean(entry.values) for entry in group),
            best=None if best is None else best.row,
            ties={row: gap for row, gap in gaps.items() if gap.contains_zero},
        )


def _place(entry: Entry, contest: _Contest) -> Place:
    failed = tuple(sorted(run.status for run in entry.runs if run.value is None))
    if not entry.values:
        return Place(row=entry.row, status=entry.status, failed=failed)
    mean = fmean(entry.values)
    competes = contest.like is not None and entry.like == contest.like
    tie = contest.ties.get(entry.row) if competes else None
    better = sum(better_than(other, mean, contest.direction) for other in contest.means)
    return Place(
        row=entry.row,
        status="ok",
        mean=mean,
        half_width=half_width(entry.values),
        n=len(entry.values),
        failed=failed,
        rank=1 + better if competes else None,
        best=tie is not None and len(contest.means) > 1,
        tied=tie is not None and len(contest.ties) > 1,
        by_examples=tie is not None and tie.by_examples and entry.row != contest.best,
        unlike=() if competes or contest.like is None else entry.like.unlike(contest.like),
    )


def _largest_group(entries: Sequence[Entry]) -> Like | None:
    counts = Counter(entry.like for entry in entries if entry.values)
    # Between groups of one size the facts decide, so that row order never does.
    return min(counts, key=lambda like: (-counts[like], like.facts), default=None)


def _best(group: Sequence[Entry], direction: Direction) -> Entry | None:
    """The entry with the best mean; of equal means that with the tightest interval."""
    sign = -1.0 if direction == "higher" else 1.0

    def order(entry: Entry) -> tuple[float, float, str]:
        width = half_width(entry.values)
        return (sign * fmean(entry.values), math.inf if width is None else width, entry.row)

    return min(group, key=order, default=None)


def better_than(value: float, other: float, direction: Direction) -> bool:
    """Whether a value is strictly better than another.

    Args:
        value: The one.
        other: The other.
        direction: Which way is better.

    Returns:
        True if it is; never with ``none``.
    """
    return (direction == "lower" and value < other) or (direction == "higher" and value > other)


def half_width(values: Sequence[float]) -> float | None:
    """Half the 95 % t-interval of a mean.

    Args:
        values: Independent values.

    Returns:
        Half its width; None for fewer than two values.
    """
    n = len(values)
    if n < 2:
        return None
    return t_quantile(n - 1) * math.sqrt(variance(values) / n)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference of two entries' means, with its 95 % interval.

    Attributes:
        mean: The first's mean less the second's.
        half_width: Half the interval; 0 where nothing is known of the spread.
        by_examples: The interval is over test examples, not over seeds.
    """

    mean: float
    half_width: float
    by_examples: bool = False

    @property
    def contains_zero(self) -> bool:
        """Whether the two may be equal."""
        return abs(self.mean) <= self.half_width


def difference(a: Entry, b: Entry) -> Difference:
    """Compares two entries that both have values.

    Args:
        a: The one.
        b: The other.

    Returns:
        Their difference; without any knowledge of the spread only equal means count as equal.
    """
    mean = fmean(a.values) - fmean(b.values)
    if len(a.values) > 1 and len(b.values) > 1:
        return Difference(mean=mean, half_width=_welch(a.values, b.values))
    if len(a.values) == len(b.values) == 1:
        width = _paired(_examples(a), _examples(b))
        return Difference(mean=mean, half_width=width or 0.0, by_examples=width is not None)
    several = a.values if len(a.values) > 1 else b.values
    n = len(several)
    spread = math.sqrt(variance(several) * (1 + 1 / n))
    return Difference(mean=mean, half_width=t_quantile(n - 1) * spread)


def _examples(entry: Entry) -> NDArray[np.float64] | None:
    return next((run.examples for run in entry.runs if run.value is not None), None)


def _welch(a: Sequence[float], b: Sequence[float]) -> float:
    """Half of Welch's interval, with the degrees of freedom of Welch and Satterthwaite."""
    va, vb = variance(a) / len(a), variance(b) / len(b)
    total = va + vb
    if total == 0.0:
        return 0.0
    # In shares of the total, so that the squares of tiny variances do not vanish.
    freedom = 1.0 / ((va / total) ** 2 / (len(a) - 1) + (vb / total) ** 2 / (len(b) - 1))
    return t_quantile(freedom) * math.sqrt(total)


def _paired(a: NDArray[np.float64] | None, b: NDArray[np.float64] | None) -> float | None:
    if a is None or b is None or a.shape != b.shape or a.size < 2:
        return None
    gap = a - b
    return t_quantile(gap.size - 1) * float(gap.std(ddof=1)) / math.sqrt(gap.size)


def t_quantile(freedom: float) -> float:
    """The quantile of Student's t that bounds a central interval of 95 %.

    Args:
        freedom: Degrees of freedom, not necessarily whole.

    Returns:
        The quantile, e.g. 12.706 for 1 and 1.960 in the limit.
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + CONFIDENCE / 2))
