"""From values along sampling ladders to curves: quality against each cost, row by row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from flowbench.leaderboard.board import numbers, words
from flowbench.leaderboard.board.table import Ladder, Rung
from flowbench.leaderboard.build.evidence import Method, values
from flowbench.store.records import RUNG, MeasurementRow, on_rung

Means = dict[str, dict[str, float]]
"""Means over a row's runs, by the name of a value and by the setting; "" is the protocol's own."""


def ladders(rows: Sequence[tuple[str, Method]]) -> Iterator[Ladder]:
    """The curves of a board: each quality against each cost that was measured along a ladder.

    Args:
        rows: Keys of rows, with their runs on a data set.
    """
    by_data: dict[str, list[tuple[str, Method]]] = defaultdict(list)
    for key, method in rows:
        by_data[method.first.job.dataset].append((key, method))
    for dataset, some in by_data.items():
        climbed = _climbed(method for _, method in some)
        means = {key: _means(method, climbed) for key, method in some}
        qualities = [m for m in climbed.values() if m.role == "quality"]
        costs = [m for m in climbed.values() if m.role != "quality"]
        for quality in qualities:
            for cost in costs:
                factor, unit = numbers.scale(cost.unit)
                name = words.with_unit(cost.short or cost.name, unit, " in ")
                found = {
                    key: _rungs(of, quality.name, cost.name, factor) for key, of in means.items()
                }
                yield Ladder(
                    metric=quality.name,
                    dataset=dataset,
                    axis=words.lower_first(name),
                    scale="log",  # steps are doubled, whatever they cost
                    rungs={key: rungs for key, rungs in found.items() if rungs},
                )


def _climbed(methods: Iterator[Method]) -> Mapping[str, MeasurementRow]:
    """The values that any run has along a ladder, as they are under the protocol's own setting."""
    found: dict[str, MeasurementRow] = {}
    for method in methods:
        for record in method.ended_well:
            measured = values(record)
            for m in measured.values():
                usual = m.name.removesuffix(on_rung("", m.protocol.get(RUNG, "")))
                if usual != m.name and usual in measured:
                    found.setdefault(usual, measured[usual])
    return found


def _means(method: Method, climbed: Mapping[str, MeasurementRow]) -> Means:
    every: dict[tuple[str, str], list[float]] = defaultdict(list)
    for record in method.ended_well:
        for m in values(record).values():
            rung = m.protocol.get(RUNG, "")
            usual = m.name.removesuffix(on_rung("", rung))
            if usual in climbed and m.value is not None:
                every[usual, rung].append(m.value)
    means: Means = defaultdict(dict)
    for (name, rung), some in every.items():
        means[name][rung] = fmean(some)
    return means


def _rungs(means: Means, quality: str, cost: str, factor: float) -> tuple[Rung, ...]:
    worth, costs = means.get(quality, {}), means.get(cost, {})
    found = [
        Rung(sample=rung, cost=costs[rung] / factor, quality=worth[rung])
        for rung in worth
        if costs.get(rung, 0.0) > 0
    ]
    return tuple(sorted(found, key=lambda r: (r.cost, r.sample)))
