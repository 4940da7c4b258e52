r"""Two rows, value by value: A less B, or A over B where a scale is logarithmic.

1. *Pairs.* The seed is the replicate: the difference is the mean over the seeds that both have,
   with Student's interval over these. Each seed's difference is of the same test examples, so it is
   paired by example too. Without two seeds in common the intervals are those of boards.
2. *Tests.* Qualities and costs are tested, two-sided, and the p-values adjusted by Holm. Two single
   runs have an interval over test examples alone: it knows nothing of the randomness of training,
   and decides nothing.
3. *Verdict.* One is better where the adjusted p-value is below 0.05. Both are equal where the
   interval contains 0 and is as narrow as a tie on a board. Else it is open, with the number of
   seeds each that would settle it if mean and spread stayed as they are: by a test at level 0.05
   over the number of tests with a power of 0.8, or by an interval as narrow as a tie.

References:
    Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6, https://www.jstor.org/stable/4615733.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any, Literal

from flowbench.api.specs import Direction, is_main_value
from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.ranking import (
    CONFIDENCE,
    Contender,
    Difference,
    Ruler,
    better_than,
    difference,
    fitting,
    gaps_of_examples,
    paired_difference,
    seeds_that_tell,
    widest_tie,
)
from flowbench.leaderboard.build.evidence import Method, Source, values
from flowbench.store.records import AttemptRow, MeasurementRow

Verdict = Literal["A", "B", "equal", "open", "one seed", "struck", "not alike", ""]

_LEVEL = 1.0 - CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class ComparedValue:
    """One value of two rows.

    Attributes:
        metric: Name of the value.
        label: The same in words.
        mean_a: Mean of the first row over its seeds.
        mean_b: Mean of the second.
        sign_a: ``≤`` and the like before a likelihood, as on boards.
        sign_b: The same of the second.
        form: What ``value`` is: ``A - B``, or ``A / B`` on a log scale.
        value: Of the runs compared; None if they are not alike.
        low: Lower end of its 95 % interval; None where nothing is known of the spread.
        high: Upper end.
        seeds: Seeds of each that the interval is over; None where it is over examples or is none.
        paired: The seeds are the same ones, and paired.
        examples: Test examples by which both are paired; None where they are not kept one by one.
        examples_half_width: Half the interval over these of the mean over seeds: what other test
            data would change, beside other seeds.
        p_value: Of no difference; None where nothing is tested.
        p_adjusted: The same, adjusted by Holm over all values tested.
        verdict: Which is better, ``equal`` or ``open``; ``one seed`` where only examples speak;
            ``struck`` where a board strikes one of both; empty where nothing is tested.
        seeds_needed: Seeds each that would settle what is open; None where that cannot be told or
            is more than `MOST_SEEDS`.
        unlike: What keeps the values from being compared.
    """

    metric: str
    label: str
    unit: str
    direction: Direction
    mean_a: float
    mean_b: float
    sign_a: str
    sign_b: str
    form: Literal["A - B", "A / B"] = "A - B"
    value: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: tuple[int, int] | None = None
    paired: bool = False
    examples: int | None = None
    examples_half_width: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    verdict: Verdict = ""
    seeds_needed: int | None = None
    unlike: str = ""


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """One of the two rows.

    Attributes:
        name: Model and preset.
        overrides: What was set on top.
        job_ids: Its jobs that ended well, by seed.
        failed: Seeds that did not end well, with how they ended.
        warnings: What its badges on a board say.
        struck: Why its values are not to be trusted; empty if they are.
    """

    name: str
    overrides: dict[str, Any]
    job_ids: dict[int, str]
    failed: dict[int, str]
    warnings: tuple[str, ...]
    struck: str = ""

    @classmethod
    def of(cls, row: Method, source: Source) -> ComparedRow:
        """A row and what warns of it."""
        return cls(
            name=row.name,
            overrides=row.first.job.overrides,
            job_ids={r.job.seed: r.job.job_id for r in ended_well(row)},
            failed={r.job.seed: r.status for r in row.records if r.status != "ok"},
            warnings=source.badges(row),
            struck=source.struck(row),
        )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two rows on one dataset, compared.

    Attributes:
        budget: Canonical text of the budget of both.
        values: What was measured of both, qualities first.
    """

    dataset: str
    budget: str
    a: ComparedRow
    b: ComparedRow
    values: tuple[ComparedValue, ...]

    def records(self) -> Iterator[dict[str, Any]]:
        """A flat object for each value, with the rows that it is of."""
        of = {"dataset": self.dataset, "budget": self.budget, "a": self.a.name, "b": self.b.name}
        yield from (of | asdict(value) for value in self.values)


def ended_well(row: Method) -> list[AttemptRow]:
    """Its runs that have values."""
    return [record for record in row.records if record.status == "ok"]


def compared(x: Method, y: Method, source: Source) -> Comparison:
    """Compares two rows that were run alike.

    Args:
        x: The first, A; with the test examples of its runs where these are kept.
        y: The second, B.
        source: What else is known of them.
    """
    names = dict.fromkeys(name for row in (x, y) for r in ended_well(row) for name in values(r))
    found = ((name, x.measured(name), y.measured(name)) for name in names)
    pairs = [
        _Pair.of(x.contender("A", name), y.contender("B", name), mine, theirs)
        for name, mine, theirs in found
        if mine and theirs and mine.role != "witness" and is_main_value(mine.metric, name)
    ]
    a, b = ComparedRow.of(x, source), ComparedRow.of(y, source)
    return Comparison(
        dataset=x.first.job.dataset,
        budget=x.first.job.budget,
        a=a,
        b=b,
        values=tuple(_with_verdicts(pairs, is_struck=bool(a.struck or b.struck))),
    )


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """One value of both on its way to a verdict.

    Attributes:
        shown: What is known so far.
        gap: The difference, of logarithms on a log scale; None if they are not alike.
        widest: Half the widest interval of a tie.
        is_contest: One of both is better.
    """

    shown: ComparedValue
    gap: Difference | None
    widest: float
    is_contest: bool

    @classmethod
    def of(cls, a: Contender, b: Contender, mine: MeasurementRow, theirs: MeasurementRow) -> _Pair:
        ruler: Ruler = "exact" if mine.role == "count" else mine.scale or "linear"
        ruler = fitting(ruler, (a, b))
        shown = ComparedValue(
            metric=mine.name,
            label=mine.short or mine.name,
            unit=mine.unit,
            direction=mine.direction,
            mean_a=fmean(a.values),
            mean_b=fmean(b.values),
            sign_a=words.sign(mine.protocol, mine.direction),
            sign_b=words.sign(theirs.protocol, mine.direction),
        )
        is_first_better = better_than(shown.mean_a, shown.mean_b, mine.direction)
        widest = widest_tie(a if is_first_better else b, ruler, mine.unit)
        is_contest = mine.role != "count" and mine.direction != "none"
        if a.like != b.like:
            unlike = (f"{fact}: {one} and {other}" for fact, one, other in a.like.unlike(b.like))
            shown = replace(shown, verdict="not alike", unlike="; ".join(unlike))
            return cls(shown=shown, gap=None, widest=widest, is_contest=False)
        paired = paired_difference(a, b, ruler)
        gap = paired or difference(a, b, ruler)
        shown = _with_interval(replace(shown, paired=paired is not None), gap, ruler)
        shown = _with_replicates(shown, gap, a, b)
        return cls(shown=shown, gap=gap, widest=widest, is_contest=is_contest)


def _with_interval(shown: ComparedValue, gap: Difference, ruler: Ruler) -> ComparedValue:
    if ruler == "log":
        shown = replace(shown, form="A / B", value=math.exp(gap.mean))
        ends = [math.exp(gap.mean + side * gap.half_width) for side in (-1, 1)]
    else:
        shown = replace(shown, value=gap.mean)
        ends = [gap.mean + side * gap.half_width for side in (-1, 1)]
    return shown if gap.freedom is None else replace(shown, low=ends[0], high=ends[1])


def _with_replicates(
    shown: ComparedValue, gap: Difference, a: Contender, b: Contender
) -> ComparedValue:
    """Adds over how many seeds and test examples the two are compared."""
    if shown.paired:
        common = a.by_seed.keys() & b.by_seed.keys()
        a, b = a.of_seeds(common), b.of_seeds(common)
    if gap.spread is not None:
        shown = replace(shown, seeds=(len(a.values), len(b.values)))
    gaps = gaps_of_examples(a, b)
    if gaps is None:
        return shown
    width = Difference.of_pairs(gaps, by_examples=True).half_width
    return replace(shown, examples=gaps.size, examples_half_width=width)


# --- tests and verdicts ---------------------------------------------------------------------------


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for their number.

    Returns:
        In the order given: where the adjusted one is below a level, so is the chance of any false
        rejection among all.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _with_verdicts(pairs: Sequence[_Pair], *, is_struck: bool) -> Iterator[ComparedValue]:
    p_values = {
        index: pair.gap.p_value
        for index, pair in enumerate(pairs)
        if pair.is_contest and pair.gap and pair.gap.p_value is not None
    }
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    for index, pair in enumerate(pairs):
        tested = replace(pair.shown, p_value=p_values.get(index), p_adjusted=adjusted.get(index))
        if pair.gap is None or not pair.is_contest:
            yield tested
            continue
        verdict: Verdict = "struck" if is_struck else _verdict(tested, pair.gap, pair.widest)
        level = _LEVEL / max(1, len(p_values))
        needed = _seeds_needed(pair.gap, pair.widest, level) if verdict == "open" else None
        yield replace(tested, verdict=verdict, seeds_needed=needed)


def _verdict(shown: ComparedValue, gap: Difference, widest: float) -> Verdict:
    if gap.spread is None:
        return "one seed"
    is_sure = gap.mean != 0.0 if shown.p_adjusted is None else shown.p_adjusted < _LEVEL
    if is_sure:
        return "A" if (gap.mean < 0) == (shown.direction == "lower") else "B"
    return "equal" if gap.contains_zero and gap.half_width <= widest else "open"


def _seeds_needed(gap: Difference, widest: float, level: float) -> int | None:
    """Seeds each after which it would be settled, if mean and spread stayed as they are."""
    if gap.spread is None:
        return None
    # An interval as narrow as a tie needs no power: its width is all that is asked for.
    found = (
        seeds_that_tell(gap.spread, abs(gap.mean), level),
        seeds_that_tell(gap.spread, widest, _LEVEL, power=0.5),
    )
    return min((seeds for seeds in found if seeds is not None), default=None)
