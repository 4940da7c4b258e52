"""Keeps the results behind suites' boards as text: what their pages can be made from again.

Kept are the attempts that a board shows, and no others: what a page made from the text says of its
runs (how many there are, which ran in older code) is said of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from flowbench.errors import LeaderboardError
from flowbench.leaderboard.build.claimed import CLAIMS_BOARD, behind, judge_claims
from flowbench.leaderboard.build.evidence import Method, Source, methods
from flowbench.leaderboard.build.standing import chosen_runs
from flowbench.leaderboard.publish import read_source
from flowbench.store import queries
from flowbench.store.attempt_files import AttemptContents
from flowbench.store.checks import write_check
from flowbench.store.kept import keep
from flowbench.store.reconcile import readable
from flowbench.suite.claims import ClaimsFile
from flowbench.suite.schema import Suite


def keep_suites(results: Path, suites: Sequence[Suite], out: Path) -> list[Path]:
    """Writes the attempts that suites' boards show, with their contract checks, as text.

    Of attempts of other budgets or hardware, and of those that a later one stands for, nothing is
    kept; nor are places on the machine that ran, which `read_source` leaves out.

    Args:
        results: The results folder to read.
        suites: The suites; each has a file of its own.
        out: The results folder to keep them in, which then makes the same boards.

    Returns:
        The files of the suites.

    Raises:
        LeaderboardError: A suite has no results.
    """
    written = []
    with readable(results) as folder:
        source = read_source(folder)
        for suite in suites:
            rows = methods(chosen_runs(suite, source), {})
            if not rows:
                raise LeaderboardError(
                    f"no results of suite {suite.name!r} in {results}; "
                    f"start with `flowbench run {suite.name}`"
                )
            written.append(_keep(folder, source, suite.name, rows, out))
    return written


def keep_claims(results: Path, file: ClaimsFile, out: Path) -> Path:
    """Writes the attempts behind a board of claims as text, as `keep_suites` does of suites.

    Args:
        results: The results folder to read.
        file: The claims.
        out: The results folder to keep them in.

    Returns:
        The file.

    Raises:
        LeaderboardError: Nothing has been run for them.
    """
    with readable(results) as folder:
        source = read_source(folder)
        rows = behind(judge_claims(file, source))
        if not rows:
            raise LeaderboardError(
                f"no results of claims in {results}; start with `flowbench claims`"
            )
        return _keep(folder, source, CLAIMS_BOARD, rows, out, with_artifacts=False)


def _keep(
    folder: Path,
    source: Source,
    name: str,
    rows: Sequence[Method],
    out: Path,
    *,
    with_artifacts: bool = True,
) -> Path:
    """Writes the attempts of rows, with the contract checks of their models."""
    shown = [attempt for row in rows for attempt in trimmed(folder, row, with_artifacts)]
    for check in filter(None, map(source.check_of, rows)):
        write_check(out, check)
    return keep(out, name, shown)


def trimmed(
    results: Path, method: Method, with_artifacts: bool = True
) -> Iterator[AttemptContents]:
    """A row's attempts with what its board shows: one run's samples, a single run's examples."""
    found = queries.attempt_contents(results, [record.attempt_id for record in method.records])
    by_id = {contents.record.attempt_id: contents for contents in found}
    drawn = not with_artifacts
    for record in method.records:
        contents = by_id[record.attempt_id]
        yield replace(
            contents,
            record=record,
            artifacts=() if drawn else contents.artifacts,
            log_prob=contents.log_prob if method.is_single else None,
        )
        # A page shows those of one run a row, and they are most of what a file holds.
        drawn = drawn or bool(contents.artifacts)
