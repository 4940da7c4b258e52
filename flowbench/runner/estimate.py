"""What a run will cost, as far as its budget and earlier runs tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from flowbench.budget import Budget, duration_text
from flowbench.errors import StoreError
from flowbench.runner.attempt import ResultsDir
from flowbench.runner.options import RunOptions
from flowbench.runner.plan import Job
from flowbench.runner.run import ReadyRun
from flowbench.store.records import AttemptRow

_SECONDS_AN_HOUR = 3600.0
_TRAINING = ("run", "resume")


def estimate(run: ReadyRun) -> str:
    """The cost of a run, in a few lines.

    Returns:
        How many jobs start and how many are cached; the training time that the budget allows them,
        of which one in steps, examples or epochs says nothing; and what evaluation will take by
        earlier runs of the same on this machine.
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
    if training:
        lines.append(_training([job.row.budget for job in training], run.options))
    if starting:
        lines.append(_evaluation(run, starting))
    waiting = sum(len(missing.models) * missing.num_seeds for missing in run.unprepared)
    if waiting:
        lines.append(f"{waiting} more wait for their data")
        lines.append(_training([run.unprepared[0].budget] * waiting, run.options))
    return "\n".join(lines)


def _training(budgets: Sequence[str], options: RunOptions) -> str:
    parsed = [Budget.parse(text) for text in budgets]
    limits = [budget.time_limit_s(options.num_devices) for budget in parsed]
    known = [limit for limit in limits if limit is not None]
    if len(known) < len(limits):
        return f"training: time unknown, since the budget {budgets[0]} does not limit it"
    hours = options.num_devices * sum(known) / _SECONDS_AN_HOUR
    on_gpus = options.device == "cuda" or any(budget.gpu_hours is not None for budget in parsed)
    unit = "GPU-hours" if on_gpus else "device-hours"
    return f"training: at most {hours:.3g} {unit}; looks at validation add about a tenth"


def _evaluation(run: ReadyRun, jobs: Sequence[Job]) -> str:
    known = [seconds for job in jobs if (seconds := _earlier_s(run, job)) is not None]
    if not known:
        return "evaluation: time unknown before the first look, as none of this ran here before"
    text = f"evaluation: about {duration_text(sum(known))} in all, by earlier runs here"
    unknown = len(jobs) - len(known)
    return text + (f"; {unknown} of {len(jobs)} jobs never ran here" if unknown else "")


def _earlier_s(run: ReadyRun, job: Job) -> float | None:
    """What evaluation took in runs that differ in seed and budget alone; None without any."""
    found = [
        record.ledger["eval"] - float(record.looks["seconds"])
        for record in _earlier(run.results, job)
        if record.status == "ok" and record.looks is not None and run.machine.matches(record)
    ]
    return median(found) if found else None


def _earlier(results: ResultsDir, job: Job) -> Iterator[AttemptRow]:
    """Attempts at jobs that differ from a job in seed and budget alone."""
    asked = {"model", "config", "dataset", "dataset_sha256", "protocol"}
    like, _, _ = job.row.job_id.rpartition("-s")
    for folder in results.runs.glob(f"{like}-s*"):
        for attempt in results.attempts(folder.name):
            try:
                record = attempt.record()
            except StoreError:  # one that cannot be read tells nothing of the time
                continue
            if record is not None and record.job.model_dump(include=asked) == job.row.model_dump(
                include=asked
            ):
                yield record
