r"""Whether an effect lies where a claim says: seeds in, a verdict out.

1. *The interval.* The seed is the replicate: the effect of each seed is one independent value, and
   the 95 % interval of their mean is Student's.
2. *The verdict.* A claim says that the effect lies in a region. It is *supported* if the whole
   interval lies inside, *contradicted* if all of it lies outside, else *undecided*. Wherever the
   true effect is, also at the end of the region, either false verdict has at most 2.5 %, both
   together 5 %. For a difference that matters this is a test of superiority by a margin, for an
   equivalence it is two one-sided tests.
3. *Many claims.* A p-value is twice the smaller one-sided one, of the claim or of its contrary;
   Holm's correction takes those of all tests of a file, untested ones as 1.
4. *No spread.* Seeds that agree exactly, such as counts, decide by their value and leave nothing to
   chance: they have no p-value and are no part of the correction.
5. *Spreads that are not normal.* Paired differences of runs that are skewed or heavy-tailed alike
   keep the levels. Where runs end in one of two places, n seeds agree by chance once in
   :math:`2^{n-1}`, which no test of so few seeds can see: of five, 3.1 % of claims are supported
   and as many contradicted falsely.
6. *Diverged runs* are worse than any value. They have none, so what was measured of the other seeds
   is judged, but a verdict that they speak against is not given.

References:
    Schuirmann (1987), A comparison of the two one-sided tests procedure and the power approach,
    Journal of Pharmacokinetics and Biopharmaceutics 15, https://doi.org/10.1007/BF01068419.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from flowbench.leaderboard.board.ranking import Difference, seeds_that_tell
from flowbench.suite.claims import Region

Verdict = Literal["supported", "contradicted", "undecided"]
LEVEL = 0.05
"""How often a verdict on one claim may be false."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What seeds say of a claim.

    Attributes:
        effect: Mean effect; None without any seed.
        low: Lower end of its 95 % interval; None where nothing is known of the spread.
        high: Upper end.
        n: Seeds with an effect.
        p_value: Of the verdict, or of the nearer one; None where nothing is left to chance, or
            nothing is known.
        more_seeds: How many more seeds would decide, with a power of 0.8, if mean and spread stayed
            as they are; None where that cannot be told, or is more than a plan.
    """

    verdict: Verdict
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    p_value: float | None = None
    more_seeds: int | None = None


def judge(
    effects: Sequence[float], region: Region, spoken_against: Collection[str] = ()
) -> Judgement:
    """Judges a claim.

    Args:
        effects: One for each seed.
        region: Where the claim says that the effect lies.
        spoken_against: Verdicts that diverged runs speak against.

    Example:
        >>> judge([0.05, 0.06, 0.04], Region(low=0.01)).verdict
        'supported'
    """
    if len(effects) < 2:
        return Judgement(verdict="undecided", effect=next(iter(effects), None), n=len(effects))
    gap = Difference.of_pairs(np.asarray(effects, dtype=np.float64))
    if min(effects) == max(effects):  # a mean may be off it by rounding
        gap = Difference(mean=effects[0], freedom=gap.freedom, spread=0.0)
    low, high = gap.mean - gap.half_width, gap.mean + gap.half_width
    found: Verdict = "undecided"
    if region.low <= low and high <= region.high:
        found = "supported"
    elif high < region.low or region.high < low:
        found = "contradicted"
    verdict = "undecided" if found in spoken_against else found
    more = None
    if found == "undecided" and gap.spread:
        needed = seeds_that_tell(gap.spread, region.distance(gap.mean), LEVEL)
        more = None if needed is None else max(1, needed - len(effects))
    return Judgement(
        verdict=verdict,
        effect=gap.mean,
        low=low,
        high=high,
        n=len(effects),
        p_value=1.0 if verdict != found else _p_value(gap, region),
        more_seeds=more,
    )


def _p_value(gap: Difference, region: Region) -> float | None:
    """Twice the smaller one-sided p-value, of inside or of outside; None without any spread."""
    if gap.stderr == 0.0:
        return None
    from scipy.special import stdtr

    # How often the mean comes out so far above the lower end, or below the upper one, by chance.
    above = [_tail(stdtr, gap, end - gap.mean) for end in (region.low,) if math.isfinite(end)]
    below = [_tail(stdtr, gap, gap.mean - end) for end in (region.high,) if math.isfinite(end)]
    inside = max(above + below)
    outside = min(1.0 - p for p in above + below)
    return min(1.0, 2.0 * min(inside, outside))


def _tail(stdtr: object, gap: Difference, distance: float) -> float:
    return float(stdtr(gap.freedom, distance / gap.stderr))  # type: ignore[operator]
