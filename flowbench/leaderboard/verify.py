"""What of a bundle is to be run again, and what the outcome says of a row.

A row is verified by some of its seeds: each is trained again in as many steps as it took, whatever
the budget was, so that a slower machine can tell. Qualities are compared; times, rates and memory
are the other machine's own. A quality agrees where a board would call the two values equal, or
where the new one lies in the 95 % interval for one more seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flowbench.budget import Budget
from flowbench.errors import StoreError
from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.ranking import prediction_half_width, widest_difference
from flowbench.leaderboard.build.evidence import Method, Source, measured_value, methods
from flowbench.leaderboard.publish import installed_metrics
from flowbench.store.bundles import Bundle, Verdict, VerifiedRow
from flowbench.store.records import RUNG, AttemptRow, MeasurementRow

_DIGITS = 4  # significant ones, of values in a verdict


def rows_of(bundle: Bundle, model: str | None = None) -> list[Method]:
    """The rows of a bundle, or those of one model.

    Args:
        model: A model, or ``model:preset``.

    Raises:
        StoreError: It has none of that model.
    """
    records = [contents.record for contents in bundle.attempts]
    source = Source(records=records, metrics=installed_metrics())
    rows = methods(source.records, {})
    found = [row for row in rows if model in (None, row.name, row.first.job.model)]
    if not found:
        names = ", ".join(dict.fromkeys(row.name for row in rows))
        raise StoreError(f"{bundle.path} has no rows of {model!r}; it has {names}")
    return found


def in_words(row: Method) -> str:
    """Which row it is."""
    job = row.first.job
    name = f"{row.name} {job.settings}".rstrip()
    return f"{name} on {job.dataset}, {words.budget(job.budget)}"


def to_rerun(row: Method, seeds: int, longest_s: float) -> list[AttemptRow]:
    """The first seeds of a row that ended well, as they are to be run again.

    Raises:
        StoreError: None did, or they take too long.
    """
    good = row.ended_well[:seeds]
    if not good:
        raise StoreError(f"no run ended well ({row.records[0].status})")
    for record in good:
        if ":" in record.job.dataset:  # ``folder:PATH``: a path of another machine is not followed
            raise StoreError(f"its data are a folder of the submitter, {record.job.dataset!r}")
        if record.charged_s > longest_s:
            raise StoreError(
                f"seed {record.job.seed} took {record.charged_s:,.0f} s; --longest allows "
                f"{longest_s:,.0f} s"
            )
    return list(good)


def rerun_budget(record: AttemptRow, longest_s: float) -> str:
    """The budget of another run: steps in place of time, and no more time than allowed."""
    budget = Budget.parse(record.job.budget)
    if not budget.time_like:
        return record.job.budget
    return f"{record.steps}steps,{longest_s:g}s"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A quality that both runs have.

    Attributes:
        allowed: How far the new one may be from the old.
    """

    name: str
    before: float
    after: float
    allowed: float

    @property
    def agrees(self) -> bool:
        """Whether it is no farther."""
        return abs(self.after - self.before) <= self.allowed

    def __str__(self) -> str:
        """Name, both values and how far they may be apart."""
        before, after, allowed = (
            f"{x:.{_DIGITS}g}" for x in (self.before, self.after, self.allowed)
        )
        return f"{self.name} {before}, now {after} (±{allowed})"


def judged(
    row: Method, pairs: Sequence[tuple[AttemptRow, AttemptRow]], tolerance: float | None
) -> VerifiedRow:
    """The verdict on a row.

    Args:
        row: As it was submitted.
        pairs: Runs of it, and the same run again.
        tolerance: Largest difference, as a part of the value; None for what the module says.
    """
    found: list[Compared] = []
    for before, after in pairs:
        seed = f"seed {before.job.seed}"
        if after.status != "ok":
            return not_rerun(row, f"{seed} {after.status} here: {after.reason or 'no reason'}")
        short = Budget.parse(before.job.budget).time_like and after.steps < before.steps
        if short:
            return not_rerun(
                row, f"{seed} came to {after.steps:,} of {before.steps:,} steps within --longest"
            )
        old = qualities(before)
        new = {m.name: measured_value(after, m.name) for m in old}
        if lost := [name for name, m in new.items() if m is None or m.value is None]:
            return not_rerun(row, f"{seed}: {lost[0]} cannot be measured here")
        found += [_compared(row, m, new[m.name], tolerance) for m in old]
    if not found:
        return not_rerun(row, "no quality was measured that another run could confirm")
    seeds = words.count(len(pairs), "seed")
    steps = " and ".join(f"{after.steps:,}" for _, after in pairs)
    worst = max(found, key=lambda c: abs(c.after - c.before) / (c.allowed or 1e-300))
    if not worst.agrees:
        return _outcome(row, "contradicted", f"{worst}, {seeds} again in {steps} steps")
    return _outcome(
        row,
        "verified",
        f"{words.count(len(found), 'value')} of {seeds} again in {steps} steps, farthest: {worst}",
    )


def qualities(record: AttemptRow) -> list[MeasurementRow]:
    """What of a run another one has to confirm."""
    return [
        m
        for m in record.values_by_name().values()
        if m.value is not None
        and (m.role, RUNG in m.protocol) == ("quality", False)
        and m.direction != "none"
    ]


def not_rerun(row: Method, why: str) -> VerifiedRow:
    """The outcome of a row of which nothing can be said, and why."""
    return _outcome(row, "not rerun", why)


def _outcome(row: Method, verdict: Verdict, why: str) -> VerifiedRow:
    attempts = tuple(record.attempt_id for record in row.records)
    return VerifiedRow(row=in_words(row), attempts=attempts, verdict=verdict, why=why)


def _compared(
    row: Method, m: MeasurementRow, new: MeasurementRow | None, tolerance: float | None
) -> Compared:
    before, after = m.value or 0.0, (new.value if new else None) or 0.0
    if tolerance is not None:
        allowed = tolerance * max(abs(before), abs(after))
    else:
        values = (measured_value(r, m.name) for r in row.ended_well)
        others = [v.value for v in values if v is not None and v.value is not None]
        allowed = max(widest_difference(before, m.unit), prediction_half_width(others))
    return Compared(name=m.name, before=before, after=after, allowed=allowed)


def summary(bundle: Bundle, rows: Sequence[VerifiedRow]) -> Iterator[str]:
    """The outcome in a line, and what was not looked at."""
    counts = {
        w: sum(r.verdict == w for r in rows) for w in ("verified", "contradicted", "not rerun")
    }
    told = ", ".join(f"{n} {word}" for word, n in counts.items() if n)
    files = words.count(len(bundle.manifest.files), "file")
    yield f"{bundle.manifest.name} ({bundle.id}): {told}; {files} as submitted"
