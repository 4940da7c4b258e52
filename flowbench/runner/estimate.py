"""What a run will cost, as far as its budget tells."""

from __future__ import annotations

from flowbench.budget import Budget
from flowbench.runner.run import ReadyRun

_SECONDS_AN_HOUR = 3600.0
_TRAINING = ("run", "resume")


def estimate(run: ReadyRun) -> str:
    """The cost of a run in one line.

    Returns:
        How many jobs start, how many are cached, and the training time that the budget allows them;
        a budget in steps, examples or epochs says nothing of time.
    """
    starting = [job for job, decision in run.decisions if decision.action in _TRAINING]
    evaluated = sum(decision.action == "evaluate" for _, decision in run.decisions)
    cached = sum(decision.action == "reuse" for _, decision in run.decisions)
    left = len(run.decisions) - len(starting) - evaluated - cached
    counts = {"to train": len(starting), "to evaluate": evaluated, "cached": cached, "left": left}
    text = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "no jobs"
    if starting:
        text += f"; {_time([job.row.budget for job in starting], run.options.device)}"
    waiting = sum(len(missing.models) * missing.num_seeds for missing in run.unprepared)
    if waiting:
        budgets = [run.unprepared[0].budget] * waiting
        text += f"\n{waiting} more wait for their data; {_time(budgets, run.options.device)}"
    return text


def _time(budgets: list[str], device: str) -> str:
    parsed = [Budget.parse(text) for text in budgets]
    limits = [budget.time_limit_s(num_devices=1) for budget in parsed]
    known = [limit for limit in limits if limit is not None]
    if len(known) < len(limits):
        return f"training time unknown, since the budget {budgets[0]} does not limit it"
    hours = sum(known) / _SECONDS_AN_HOUR
    on_gpus = device == "cuda" or any(budget.gpu_hours is not None for budget in parsed)
    unit = "GPU-hours" if on_gpus else "device-hours"
    return (
        f"at most {hours:.3g} {unit} of training (looks at validation come on top, about a tenth "
        "of it, and evaluation)"
    )
