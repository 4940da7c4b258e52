"""What a run says before its first job starts, and beneath the table when the last has ended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowbench.budget import size_text
from flowbench.cli.quantities import count_text
from flowbench.errors import BRIEF, printable
from flowbench.runner.decide import NOT_RUN
from flowbench.runner.placed import IN_QUEUE
from flowbench.store.records import CONTENDED_SHARE

if TYPE_CHECKING:
    from flowbench.runner.decide import Decision
    from flowbench.runner.plan import Job
    from flowbench.runner.run import ReadyRun, RunRequest
    from flowbench.store.records import AttemptRow

Decided = Sequence[tuple["Job", "Decision"]]

STARTS = {"run": "run again", "resume": "resumed", "evaluate": "measured, not trained"}
MOST_NAMED = 3  # of the jobs of which the same is said


def opening(decided: Decided) -> Iterator[str]:
    """How many jobs start and how many do not, and why: one line for each kind of reason."""
    counts = Counter(_counted_as(decision) for _, decision in decided)
    said = {
        "reuse": "reused",
        "leave": "left as they are",
        "skip": "skipped",
        "wait": "running elsewhere",
        "queued": "queued",
        "run": "to run",
    }
    yield ", ".join(f"{counts[action]} {words}" for action, words in said.items() if counts[action])
    again = Counter(
        f"{STARTS[d.action]} ({d.why})" for _, d in decided if d.starts and d.why != NOT_RUN
    )
    yield from (f"{count} {why}" for why, count in again.items())
    # One line for each kind of reason: a suite of forty models may skip thirty for the same one.
    for action, words in (("leave", "left"), ("skip", "skipped")):
        kinds: dict[str, list[tuple[Job, str]]] = {}
        for job, decision in decided:
            if decision.action == action:
                kinds.setdefault(_kind(job, decision), []).append((job, decision.why))
        yield from (f"{len(jobs)} {words}: {_same_said(jobs)}" for jobs in kinds.values())


def _counted_as(decision: Decision) -> str:
    """What the count of all jobs calls a decision."""
    if decision.action == "wait" and decision.why.startswith(IN_QUEUE):
        return "queued"  # it may not have begun
    return "run" if decision.starts else decision.action


def _kind(job: Job, decision: Decision) -> str:
    """The reason without the names in it; of a failure, whose reason comes last, how it ended."""
    if decision.source is not None:
        return decision.why.partition(":")[0]
    return decision.why.replace(job.row.model, "MODEL").replace(job.row.dataset, "DATASET")


def _same_said(jobs: Sequence[tuple[Job, str]]) -> str:
    """The reason of the first, and of which other jobs the same can be said."""
    names = [f"{job.row.model} on {job.row.dataset}" for job, _ in jobs]
    others = [name for name in dict.fromkeys(names) if name != names[0]]
    if not others:
        return jobs[0][1]
    more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
    return f"{jobs[0][1]}; likewise {', '.join(others[:MOST_NAMED])}{more}"


def settings(request: RunRequest, ready: ReadyRun) -> Iterator[str]:
    """What flags, suite and machine come to."""
    yield f"results: {request.results}"
    yield f"data: {request.data_dir}"
    if slots := ready.executor.slots:
        threads = count_text(slots[0].num_threads, "thread")
        yield f"device: {ready.options.device}, jobs at a time: {len(slots)}, of {threads}"
    else:
        yield f"device: {ready.options.device}, executor: {request.elsewhere}"
    if request.num_devices > 1:
        yield f"devices of a job: {request.num_devices}"
    yield f"timeout: {request.timeout_s:g} s outside the budget"
    if ready.options.max_rss:
        yield f"memory of a job: {size_text(ready.options.max_rss)}"
    # Seeds of one job have the same settings.
    told: set[str] = set()
    for job, _ in ready.decisions:
        row = job.row
        what = f"{row.configured} on {row.dataset}"
        if what not in told:
            told.add(what)
            values = {"budget": row.budget, "metrics": ",".join(job.metrics), **row.protocol}
            yield f"{what}: {_assignments(values)}"
            yield f"{what}: {_assignments(row.config)}"


def _assignments(values: Mapping[str, Any], prefix: str = "") -> str:
    """Nested values as ``--set`` takes them."""
    said = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            said.append(_assignments(value, f"{prefix}{key}."))
        else:
            said.append(f"{prefix}{key}={value if isinstance(value, str) else json.dumps(value)}")
    return " ".join(said)


def stopped(request: RunRequest, ready: ReadyRun) -> str:
    """What becomes of the jobs of a run that was interrupted."""
    if not ready.executor.slots:
        return (
            f"no longer watching: jobs go on in {request.executor}; run the same command again to "
            "follow them, flowbench cancel JOB ends one"
        )
    left = "; workers go on by themselves" if request.detach else ""
    return f"stopped{left}; run the same command again to go on from there"


def succeeded(decided: Decided, records: Mapping[str, AttemptRow]) -> bool:
    """Whether there is a result, no job failed or was left to another run, nor any metric.

    One that ran out of memory counts by the job in its place, and a trial of a sweep by what its
    sweep came to.
    """
    given_up = {
        job.row.job_id
        for job, decision in decided
        if decision.instead is not None or job.trial is not None
    }
    statuses = [record.status for job_id, record in records.items() if job_id not in given_up]
    all_there = all(job.row.job_id in records for job, _ in decided)
    of_metrics = {row.status for record in records.values() for row in record.measurements}
    all_well = set(statuses) <= {"ok", "skipped"} and "failed" not in of_metrics
    return all_there and "ok" in statuses and all_well


def failures(decided: Decided, records: Mapping[str, AttemptRow]) -> Iterator[str]:
    """Each job without a good result, and why; and what there is against the good ones."""
    for job, decision in decided:
        record = records.get(job.row.job_id)
        if record is None:
            yield f"left out: {job.label}: {decision.why}"
        elif record.status not in ("ok", "pruned", "skipped"):
            hint = f" (flowbench results logs {job.row.job_id})" if record.number else ""
            if decision.instead is not None:
                hint = f" (tried again: {decision.instead.row.in_parts})"
            yield f"{record.status}: {job.label}: {printable(record.reason or '', BRIEF)}{hint}"
        elif record.refuted:
            yield f"refuted: {job.label}: {record.refuted}"
    stale = sum(decision.stale for _, decision in decided)
    if stale:
        yield f"{stale} stale: made by another version of flowbench (--rerun stale)"
    contended = sum(record.contended for record in records.values())
    if contended:
        share = f"{100 * CONTENDED_SHARE:.0f} % of training"
        yield f"{contended} contended: waited for a core over {share} (--rerun contended)"


def unavailable(records: Iterable[AttemptRow], asked: Sequence[str]) -> Iterator[str]:
    """Why a metric that failed or was asked for by name has no value: a line for each reason."""
    missing = {
        f"{row.status}: {row.metric}: {printable(row.reason or '', BRIEF)}": None
        for record in records
        for row in record.measurements
        if row.status == "failed" or (row.metric in asked and row.value is None)
    }
    yield from missing
