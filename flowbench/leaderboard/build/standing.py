"""Which runs stand behind a suite's board."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowbench.leaderboard.build.evidence import (
    Method,
    Source,
    device_hours,
    methods,
    swept,
    without_parts,
)
from flowbench.store.records import AttemptRow
from flowbench.suite.schema import Suite

Pair = tuple[str, str]
"""A data set and what runs on it, ``name`` or ``name:preset``."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The runs that a board shows.

    Attributes:
        methods: The runs, by data set and model.
        left_out: How many other results of the same models on the same data there are.
        waiting: How many models have no run yet.
        partial: How many have runs on some of their data sets only.
    """

    methods: Mapping[Pair, Method]
    left_out: int
    waiting: int
    partial: int

    @property
    def records(self) -> list[AttemptRow]:
        """All of them."""
        return [record for method in self.methods.values() for record in method.records]


def matching(suite: Suite, source: Source, pair: Pair) -> list[AttemptRow]:
    """The runs of a model on a data set, as the suite configures it.

    Args:
        suite: The suite.
        source: All records.
        pair: The data set and what runs on it; a model without a preset stands for all of its.

    Returns:
        Records of every seed, budget and protocol.
    """
    model = pair[1].partition(":")[0]
    wanted = [without_parts(settings) for settings in suite.settings_of(model)]
    space = {key: str(drawn_from) for key, drawn_from in suite.space_of(model).items()}
    return [r for r in _of(source, pair) if _set_apart(r, space) in wanted]


def _of(source: Source, pair: Pair) -> list[AttemptRow]:
    """The runs of a model on a data set, however they were configured."""
    dataset, choice = pair
    model, _, preset = choice.partition(":")
    records = source.by_model.get((dataset, model), ())
    return [record for record in records if not preset or record.job.preset == preset]


def _set_apart(record: AttemptRow, space: Mapping[str, str]) -> dict[str, Any] | None:
    """What a run was set to but for what a sweep of a space chose; None if none did."""
    chosen = without_parts(record.job.overrides)
    if not space:
        return chosen
    tuning = swept([record])
    if tuning is None or tuning.space != space:
        return None
    return {key: value for key, value in chosen.items() if key not in space}


def chosen_runs(suite: Suite, source: Source) -> list[AttemptRow]:
    """The runs that a suite's board shows.

    Of a suite that does not say how its board looks, these are all of the budget to show.
    """
    if suite.lays_out:
        return choose(suite, source, suite_pairs(suite)).records
    found = {pair: matching(suite, source, pair) for pair in suite_pairs(suite)}
    budgets = _budgets(found)
    records = {r.attempt_id: r for rows in found.values() for r in rows}
    return [r for r in records.values() if r.job.budget == budgets[0]]


def suite_pairs(suite: Suite) -> list[Pair]:
    """All that a suite runs, seeds apart."""
    return [(name, model) for name in suite.datasets for model in suite.models_on(name)]


def choose(suite: Suite, source: Source, pairs: Iterable[Pair]) -> Chosen:
    """Chooses the runs that a board shows.

    A board shows one budget where it can: of several the one that most of its pairs have, then the
    one that cost most. A pair that has no result at it shows another, and is not ranked with the
    rest. Of runs at one budget that differ in more than the seed (hardware, evaluation), those with
    most seeds are shown, then the newest.

    Args:
        suite: The suite.
        source: All records.
        pairs: What the board has room for.
    """
    found = {pair: matching(suite, source, pair) for pair in dict.fromkeys(pairs)}
    order = _budgets(found)
    chosen: dict[Pair, Method] = {}
    for pair, records in found.items():
        if not records:
            continue
        # The board's own budget where the pair has it, else the next best.
        first = min({r.job.budget for r in records}, key=order.index)
        rows = methods([r for r in records if r.job.budget == first], source.log_prob)
        chosen[pair] = max(rows, key=weight)
    shown = {r.attempt_id for method in chosen.values() for r in method.records}
    there = {r.attempt_id for pair in found for r in _of(source, pair) if r.trial is None}
    begun = {choice for _, choice in chosen}
    lacking = {choice for dataset, choice in found if (dataset, choice) not in chosen}
    return Chosen(
        methods=chosen,
        left_out=len(there - shown),
        waiting=len(lacking - begun),
        partial=len(lacking & begun),
    )


def _budgets(found: Mapping[Pair, Sequence[AttemptRow]]) -> list[str]:
    """All budgets, the one to show first."""
    covered = Counter(
        budget for records in found.values() for budget in {r.job.budget for r in records}
    )
    every = [record for records in found.values() for record in records]
    cost = {b: device_hours([r for r in every if r.job.budget == b]) or 0.0 for b in covered}
    # The text last, so that the same store gives the same board.
    return sorted(covered, key=lambda budget: (-covered[budget], -cost[budget], budget))


def weight(method: Method) -> tuple[int, str, str]:
    """By which of several rows one is shown: most seeds, then the newest."""
    return (len(method.ended_well), max(r.started for r in method.records), method.key)
