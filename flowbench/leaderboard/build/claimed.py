"""From records to verdicts on claims."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flowbench.budget import Budget
from flowbench.leaderboard.board import numbers, words
from flowbench.leaderboard.board.ranking import Like
from flowbench.leaderboard.board.verdicts import LEVEL, Judgement, judge
from flowbench.leaderboard.build.compared import holm
from flowbench.leaderboard.build.evidence import (
    Method,
    Source,
    hardware,
    measured_value,
    methods,
    protocol_facts,
)
from flowbench.leaderboard.build.standing import matching, weight
from flowbench.store.records import AttemptRow, MeasurementRow
from flowbench.suite.claims import AnyTest, Bound, Claim, ClaimsFile

CLAIMS_BOARD = "claims"
"""Name of the board of the papers' claims, and of what is kept for it."""

_BOTH = frozenset({"supported", "contradicted"})


@dataclass(frozen=True, kw_only=True)
class JudgedTest:
    """A claim on one data set, judged.

    Attributes:
        p_adjusted: The p-value, adjusted by Holm over all tests of the file.
        published: The effect by the paper's values, where it prints them.
        unit: Unit of the effects as they are written; empty for ratios.
        factor: What effects are divided by for that.
        decimals: Decimals of effects as they are written.
        methods: The runs behind it by name, as far as there are any.
        labels: What each is called.
        remarks: What to know of the verdict, a sentence each.
    """

    claim: Claim
    test: AnyTest
    dataset: str
    judgement: Judgement
    p_adjusted: float | None = None
    published: float | None = None
    unit: str = ""
    factor: float = 1.0
    decimals: int = 3
    methods: Mapping[str, Method]
    labels: Mapping[str, str]
    remarks: tuple[str, ...] = ()

    @property
    def labelled(self) -> list[tuple[str, Method]]:
        """The runs behind it with what each is called."""
        return [(self.labels[name], method) for name, method in self.methods.items()]

    @property
    def survives(self) -> bool:
        """Whether the verdict stands among all of the file."""
        p = self.p_adjusted
        return self.judgement.verdict != "undecided" and (p is None or p < LEVEL)

    @property
    def verdict(self) -> str:
        """In words: ``not run`` apart from ``undecided``."""
        return self.judgement.verdict if self.judgement.n else "not run"

    def effect_text(self, effect: float | None) -> str:
        """An effect as it is written: ``+0.012``, ``×1.25``, or a plain value."""
        if effect is None:
            return ""
        if self.test.form == "ratio":
            effect = math.exp(effect)
        if isinstance(self.test, Bound):
            return numbers.number(effect / self.factor, self.decimals)
        if self.test.form == "ratio":
            return f"×{numbers.number(effect, 2)}"
        return numbers.signed(effect / self.factor, self.decimals)

    @property
    def interval(self) -> str:
        """The 95 % interval; empty where nothing is known of the spread, or there is none."""
        one = self.judgement
        if one.low is None or one.low == one.high:
            return ""
        return f"[{self.effect_text(one.low)}, {self.effect_text(one.high)}]"

    @property
    def measured(self) -> str:
        """The effect with its unit and interval."""
        parts = (self.effect_text(self.judgement.effect), self.unit, self.interval)
        return " ".join(filter(None, parts)) if parts[0] else ""

    @property
    def claimed(self) -> str:
        """Where the claim says that the effect lies."""
        low, high = self.test.region
        if low > -math.inf and high < math.inf:
            return f"{self.effect_text(low)} to {self.effect_text(high)}"
        return f"≥ {self.effect_text(low)}" if high == math.inf else f"≤ {self.effect_text(high)}"

    def record(self) -> dict[str, Any]:
        """A flat object: effects are in the metric's unit, of ratios factors."""
        one = self.judgement
        scale = math.exp if self.test.form == "ratio" else float
        effects = {"effect": one.effect, "low": one.low, "high": one.high}
        effects |= {"published": self.published}
        effects |= dict(zip(("claimed_low", "claimed_high"), self.test.region, strict=True))
        return {
            "claim": self.claim.id,
            "dataset": self.dataset,
            "kind": self.test.kind,
            "verdict": self.verdict,
            "survives_holm": self.survives,
            **{
                name: None if value is None or math.isinf(value) else scale(value)
                for name, value in effects.items()
            },
            "seeds": one.n,
            "p_value": one.p_value,
            "p_adjusted": self.p_adjusted,
            "more_seeds": one.more_seeds,
            "remarks": list(self.remarks),
        }


def judge_claims(file: ClaimsFile, source: Source) -> list[JudgedTest]:
    """Judges all tests of a file, whatever of them is to be shown: Holm's correction is over all.

    Args:
        file: The claims; their seeds alone count.
        source: Records.
    """
    found = [
        _judged(file, source, claim, test, dataset)
        for claim, test in file.tests
        for dataset in test.datasets
    ]
    # What was not run yet will be judged one day, too.
    p_values = {
        index: 1.0 if one.judgement.n < 2 else one.judgement.p_value
        for index, one in enumerate(found)
    }
    by_chance = {index: p for index, p in p_values.items() if p is not None}
    adjusted = dict(zip(by_chance, holm(list(by_chance.values())), strict=True))
    return [replace(one, p_adjusted=adjusted.get(index)) for index, one in enumerate(found)]


def behind(judged: Sequence[JudgedTest]) -> list[Method]:
    """The rows of runs behind tests, each once."""
    return list({m.key: m for one in judged for m in one.methods.values()}.values())


def expected_false(found: Sequence[JudgedTest]) -> float:
    """How many verdicts are false by chance, at most, before Holm's correction."""
    return LEVEL * sum(one.judgement.p_value is not None for one in found)


def _judged(
    file: ClaimsFile, source: Source, claim: Claim, test: AnyTest, dataset: str
) -> JudgedTest:
    names = dict.fromkeys(asked.run for asked in test.asked)
    runs = {name: runs_of(file, source, name, dataset) for name in names}
    there = {name: method for name, method in runs.items() if method is not None}
    effects, measured = _effects(file, test, there)
    against: frozenset[str] = frozenset()
    for index, asked in enumerate(test.asked):
        if any(r.status == "diverged" for r in _records(there.get(asked.run))):
            against |= test.spoken_against(index)
    unfit = [*_unfit(file, source, there, measured), *_unlike(file, test, there)]
    judgement = judge(effects, test.region, _BOTH if unfit else against)
    factor, unit = (1.0, "") if measured is None else numbers.scale(measured.unit)
    scale = math.exp if test.form == "ratio" else float
    ends = [scale(end) / factor for end in test.region if math.isfinite(end)]
    effect = [] if judgement.effect is None else [scale(judgement.effect) / factor]
    return JudgedTest(
        claim=claim,
        test=test,
        dataset=dataset,
        judgement=judgement,
        published=claim.published_effect(),
        unit="" if test.form == "ratio" and not isinstance(test, Bound) else unit,
        factor=factor,
        decimals=_decimals(effect, ends, unit),
        methods=there,
        labels={name: file.runs[name].label for name in there},
        remarks=(*unfit, *_lost(file, test, runs)),
    )


def _decimals(effect: Sequence[float], ends: Sequence[float], unit: str) -> int:
    """Decimals that show an effect and what is claimed of it; a small limit is not to be 0."""
    usual = numbers.decimals_for([*effect, *ends], unit)
    if usual == numbers.SCIENTIFIC:
        return usual
    return numbers.SCIENTIFIC if any(end and round(end, usual) == 0.0 for end in ends) else usual


def runs_of(file: ClaimsFile, source: Source, name: str, dataset: str) -> Method | None:
    """The runs of a name, of the file's seeds; of several hardwares or data, the fullest row.

    Returns:
        The row; None if nothing was run.
    """
    run = file.runs[name]
    budget, protocol = str(Budget.parse(run.budget)), run.protocol.model_dump(mode="json")
    suite = run.suite(dataset, file.seeds, ())
    found = [
        record
        for record in matching(suite, source, (dataset, run.model))
        if record.job.seed in file.seeds
        and (record.job.budget, record.job.protocol) == (budget, protocol)
    ]
    return max(methods(found, source.log_prob), key=weight, default=None)


def _records(method: Method | None) -> tuple[AttemptRow, ...]:
    return () if method is None else method.records


def _effects(
    file: ClaimsFile, test: AnyTest, there: Mapping[str, Method]
) -> tuple[list[float], MeasurementRow | None]:
    """The effect of each seed that has all values; and one of the values, which says its unit."""
    first = None
    effects = []
    for seed in file.seeds:
        values = []
        for asked in test.asked:
            records = _records(there.get(asked.run))
            record = next((r for r in records if r.job.seed == seed and r.status == "ok"), None)
            m = None if record is None else measured_value(record, asked.value)
            if m is None or m.value is None or not _is_fit(m, test):
                break
            first = first or m
            values.append(m.value)
        else:
            effects.append(test.effect(values))
    return effects, first


def _is_fit(m: MeasurementRow | None, test: AnyTest) -> bool:
    """Whether an effect can be made of a value: a ratio needs one above 0."""
    return m is not None and m.value is not None and (test.form != "ratio" or m.value > 0)


def _unfit(
    file: ClaimsFile,
    source: Source,
    there: Mapping[str, Method],
    measured: MeasurementRow | None,
) -> Iterator[str]:
    """Why no verdict can be given, whatever the values."""
    for name, method in there.items():
        if struck := source.struck(method):
            yield f"{file.runs[name].label}: {struck}"
    machines = {hardware(r) for method in there.values() for r in method.ended_well}
    if measured is not None and measured.role == "cost" and len(machines) > 1:
        yield f"A cost, measured on {' and '.join(sorted(map(str, machines)))}: rerun on one."


def _unlike(file: ClaimsFile, test: AnyTest, there: Mapping[str, Method]) -> Iterator[str]:
    """Which qualities of one name were not measured alike: their difference says nothing.

    How samples are drawn may be what a claim is about.
    """
    first: dict[str, tuple[str, Like]] = {}
    for asked in test.asked:
        for record in _records(there.get(asked.run)):
            m = measured_value(record, asked.value)
            if m is None or m.value is None or m.role != "quality":
                continue
            this = Like.of(**{k: v for k, v in protocol_facts(m).items() if k != "sample"})
            run, other = first.setdefault(m.name, (asked.run, this))
            if this != other:
                apart = "; ".join(f"{k} is {a}, not {b}" for k, a, b in this.unlike(other))
                names = " and ".join(dict.fromkeys(file.runs[n].label for n in (run, asked.run)))
                yield f"{names}: {m.name} was not measured alike, {apart}."
                return


def _lost(file: ClaimsFile, test: AnyTest, runs: Mapping[str, Method | None]) -> Iterator[str]:
    """Which seeds a run has no value of, and why; a divergence says what it means."""
    for name, method in runs.items():
        label = file.runs[name].label
        if method is None:
            yield f"{label} was not run."
            continue
        for record in method.records:
            if record.status == "diverged":
                yield f"{label} diverged with seed {record.job.seed}: worse than any value."
            elif record.status != "ok":
                how = words.status(record.status).lstrip("×– ")
                yield f"{label} has no result with seed {record.job.seed}: {how}."
        for asked in dict.fromkeys(one for one in test.asked if one.run == name):
            found = [measured_value(record, asked.value) for record in method.ended_well]
            without = [m for m in found if not _is_fit(m, test)]
            if without:
                reasons = (m.reason for m in without if m is not None and m.reason)
                why = next(reasons, "not measured" if None in without else "no logarithm")
                seeds = words.count(len(without), "seed")
                yield f"{label} has no {asked.value} with {seeds}: {why}."
        lacking = sorted(set(file.seeds) - {record.job.seed for record in method.records})
        if lacking:
            yield f"{label} was not run with {'seed' if len(lacking) == 1 else 'seeds'} " + (
                f"{', '.join(map(str, lacking))}."
            )
