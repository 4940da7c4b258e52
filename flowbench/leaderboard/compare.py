"""Finds the two rows that are to be compared, wherever they were run alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flowbench.errors import LeaderboardError, unknown_name
from flowbench.leaderboard.build.compared import Comparison, compared, ended_well
from flowbench.leaderboard.build.evidence import Method, like, methods
from flowbench.leaderboard.publish import core_of, read_source
from flowbench.store import queries
from flowbench.store.reconcile import readable

_SEE = "flowbench results list"


def compare_rows(results: Path, a: str, b: str, dataset: str | None = None) -> list[Comparison]:
    """Compares two rows.

    Args:
        results: The results folder.
        a: A row as boards name it, ``model`` or ``model:preset``; or how the id of one of its jobs
            begins.
        b: The other.
        dataset: Only on this dataset.

    Returns:
        A comparison for each dataset, budget, protocol and hardware that both ran with; of a name
        that stands for several rows, for each of these.

    Raises:
        LeaderboardError: One is not there, or they have nothing in common.
    """
    with readable(results) as folder:
        source = replace(read_source(folder), core_code=core_of(results))
        rows = methods(source.records, {})
        if not rows:
            raise LeaderboardError(
                f"no results to compare in {results}; start with `flowbench run`"
            )
        datasets = {row.first.job.dataset for row in rows}
        if dataset is not None and dataset not in datasets:
            raise LeaderboardError(unknown_name("dataset", dataset, datasets, _SEE))
        pairs = _alike(_called(a, rows), _called(b, rows), dataset)
        ids = [r.attempt_id for pair in pairs for row in pair for r in ended_well(row)]
        log_prob = queries.per_example(folder, ids)
    full = [[replace(row, log_prob=log_prob) for row in pair] for pair in pairs]
    found = [compared(x, y, source) for x, y in full]
    if not any(value.verdict for one in found for value in one.values):
        raise LeaderboardError(
            f"nothing was measured of both {found[0].a.name} and {found[0].b.name}"
        )
    return found


def _called(which: str, rows: Sequence[Method]) -> list[Method]:
    """The rows of that name, else the one with jobs whose ids begin so.

    Raises:
        LeaderboardError: There is none, or jobs of several rows begin so.
    """
    if named := [row for row in rows if which in (row.name, row.first.job.model)]:
        return named
    found = [row for row in rows if any(r.attempt_id.startswith(which) for r in row.records)]
    if not which or not found:
        names = {row.name for row in rows} | {row.first.job.model for row in rows}
        raise LeaderboardError(unknown_name("row", which, names, _SEE))
    if len(found) > 1:
        names = {f"{row.name} on {row.first.job.dataset}" for row in found}
        raise LeaderboardError(
            f"{which!r} begins jobs of {len(found)} rows: {', '.join(sorted(names)[:5])}; name a "
            f"model, or give more of the id ({_SEE})"
        )
    return found


def _alike(
    firsts: Sequence[Method], seconds: Sequence[Method], dataset: str | None
) -> list[tuple[Method, Method]]:
    """All pairs of rows that were run alike and have values, each once.

    Raises:
        LeaderboardError: There is none.
    """
    a, b = firsts[0].name, seconds[0].name
    places = [sorted({row.first.job.dataset for row in rows}) for rows in (firsts, seconds)]
    shared = {
        frozenset((x.key, y.key)): (x, y)
        for x in firsts
        for y in seconds
        if x.first.job.dataset == y.first.job.dataset and dataset in (None, x.first.job.dataset)
    }
    others = [(x, y) for x, y in shared.values() if x is not y]
    if shared and not others:
        raise LeaderboardError(f"both are the same, {a}; give two rows ({_SEE})")
    if not others:
        on = f"both on {dataset}" if dataset else "on one dataset"
        raise LeaderboardError(
            f"{a} and {b} have no results {on}: the first has some on {', '.join(places[0])}, the "
            f"second on {', '.join(places[1])}"
        )
    pairs = [(x, y) for x, y in others if not _apart(x, y)]
    if not pairs:
        x, y = min(others, key=lambda pair: len(_apart(*pair)))
        raise LeaderboardError(
            f"{x.name} and {y.name} were not run alike on {x.first.job.dataset}: "
            f"{'; '.join(_apart(x, y))}; run both under the same"
        )
    failed = [row for pair in pairs for row in pair if not ended_well(row)]
    pairs = [(x, y) for x, y in pairs if ended_well(x) and ended_well(y)]
    if not pairs:
        how = ", ".join(sorted({record.status for record in failed[0].records}))
        raise LeaderboardError(
            f"no run of {failed[0].name} on {failed[0].first.job.dataset} ended well: {how}"
        )
    return pairs


def _apart(x: Method, y: Method) -> list[str]:
    """In what two rows were not run alike: what each was asked for."""
    texts = []
    for fact, here, there in like(x.first, None).unlike(like(y.first, None)):
        if fact == "evaluation":
            one, other = x.first.job.protocol, y.first.job.protocol
            keys = [key for key in sorted(one | other) if one.get(key) != other.get(key)]
            texts += [f"{key} is {one.get(key)} and {other.get(key)}" for key in keys]
        else:
            texts.append(f"{fact} is {here} and {there}")
    return texts
