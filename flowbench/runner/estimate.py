"""What a run will cost, as far as its budget and earlier runs tell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from flowbench.budget import Budget, duration_text
from flowbench.runner.attempt import canonical_json
from flowbench.runner.options import RunOptions
from flowbench.runner.plan import Job
from flowbench.runner.run import ReadyRun
from flowbench.store.records import AttemptRow, JobRow

_SECONDS_AN_HOUR = 3600.0
_TRAINING = ("run", "resume")


def estimate(run: ReadyRun) -> str:
    """The cost of a run, in a few lines.

    Returns:
        How many jobs start and how many are cached; the training time that the budget allows them,
        of one in steps what earlier runs of the same on this machine tell; and what evaluation
        will take by these.
    """
    training = [job for job, decision in run.decisions if decision.action in _TRAINING]
    starting = [job for job, decision in run.decisions if decision.starts]
    cached = sum(decision.action == "reuse" for _, decision in run.decisions)
    counts = {
        "to train": len(training),
        "to evaluate": len(starting) - len(training),
        "cached": cached,
        "left": len(run.decisions) - len(starting) - cached,
    }
    lines = [", ".join(f"{count} {what}" for what, count in counts.items() if count) or "no jobs"]
    earlier = _earlier(run, starting)
    lines += [f"{sweep.to_come} more at most: {sweep}" for sweep in run.sweeps.all]
    more = [sweep.budget for sweep in run.sweeps.all for _ in range(sweep.to_come)]
    if training or more:
        paces = [_pace(earlier[_alike(job.row)]) for job in training] + [None] * len(more)
        budgets = [job.row.budget for job in training] + more
        lines.append(_training(budgets, paces, run.options))
    if starting:
        lines.append(_evaluation([_evaluated(earlier[_alike(job.row)]) for job in starting]))
    waiting = sum(len(missing.models) * missing.num_seeds for missing in run.unprepared)
    if waiting:
        lines.append(f"{waiting} more wait for data or a package")
        budgets = [run.unprepared[0].budget] * waiting
        lines.append(_training(budgets, [None] * waiting, run.options))
    return "\n".join(lines)


def _training(budgets: Sequence[str], paces: Sequence[float | None], options: RunOptions) -> str:
    parsed = [Budget.parse(text) for text in budgets]
    limits = [budget.time_limit_s(options.num_devices) for budget in parsed]
    known = [limit for limit in limits if limit is not None]
    if len(known) == len(limits):
        hours = options.num_devices * sum(known) / _SECONDS_AN_HOUR
        on_gpus = options.device == "cuda" or any(budget.gpu_hours is not None for budget in parsed)
        unit = "GPU-hours" if on_gpus else "device-hours"
        return f"training: at most {hours:.3g} {unit}; looks at validation add about a tenth"
    by_pace = [
        budget.steps * pace
        for budget, pace, limit in zip(parsed, paces, limits, strict=True)
        if limit is None and budget.steps is not None and pace is not None
    ]
    if not by_pace:
        return f"training: time unknown, since the budget {budgets[0]} does not limit it"
    known += by_pace
    text = f"training: about {duration_text(sum(known))} in all, by the pace of earlier runs here"
    return text + _never_ran(len(limits) - len(known), len(limits))


def _evaluation(seconds: Sequence[float | None]) -> str:
    known = [one for one in seconds if one is not None]
    if not known:
        return "evaluation: time unknown before the first look, as none of this ran here before"
    text = f"evaluation: about {duration_text(sum(known))} in all, by earlier runs here"
    return text + _never_ran(len(seconds) - len(known), len(seconds))


def _never_ran(unknown: int, jobs: int) -> str:
    return f"; {unknown} of {jobs} jobs never ran here" if unknown else ""


def _pace(records: Sequence[AttemptRow]) -> float | None:
    """Seconds of a step in runs that differ in seed and budget alone; None without any."""
    found = [record.charged_s / record.steps for record in records if record.steps]
    return median(found) if found else None


def _evaluated(records: Sequence[AttemptRow]) -> float | None:
    """What evaluation took in such runs; None without any that tells."""
    found = [
        record.ledger["eval"] - float(record.looks["seconds"])
        for record in records
        if record.looks is not None
    ]
    return median(found) if found else None


def _earlier(run: ReadyRun, jobs: Sequence[Job]) -> Mapping[str, Sequence[AttemptRow]]:
    """Attempts that ended well on this machine, by what they share with jobs of other seeds."""
    found: dict[str, list[AttemptRow]] = defaultdict(list)
    for like in {job.row.job_id.rpartition("-s")[0] for job in jobs}:
        for folder in run.results.runs.glob(f"{like}-s*"):
            for attempt in run.results.attempts(folder.name):
                record = attempt.readable_record()
                if record is not None and record.status == "ok" and run.machine.matches(record):
                    found[_alike(record.job)].append(record)
    return found


def _alike(row: JobRow) -> str:
    """All that a job asks for but seed and budget."""
    asked = {"model", "config", "dataset", "dataset_sha256", "protocol"}
    return canonical_json(row.model_dump(mode="json", include=asked))
