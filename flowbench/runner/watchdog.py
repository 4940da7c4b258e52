"""What is to be said of a worker, judged from its heartbeat: that it must stop, or takes long."""

from __future__ import annotations

import math
from dataclasses import dataclass

from flowbench.budget import duration_text
from flowbench.runner.attempt import SILENCE_S, Heartbeat
from flowbench.store.records import AttemptStatus
from flowbench.training.clock import CHARGED

GRACE_S = 10.0
GRACE_SHARE = 0.05
KILL_AFTER_S = 30.0  # to save in, once it was asked to stop
SHORT_S = 10.0  # a wait that nobody needs to be told of


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Why a worker must be stopped.

    Attributes:
        reason: Why, in one line.
        gently: Whether it can still be asked; a silent worker cannot.
    """

    status: AttemptStatus
    reason: str
    gently: bool


def judge(
    heartbeat: Heartbeat | None,
    *,
    now: float,
    spawned: float,
    limit_s: float | None,
    uncharged_limit_s: float,
) -> Verdict | None:
    """Looks for a worker that hangs, overruns its budget or evaluates for too long.

    Args:
        heartbeat: Its latest heartbeat, None before the first.
        now: Monotonic time.
        limit_s: Charged seconds that it may use; None under a budget without a time limit.
        uncharged_limit_s: Seconds that it may spend on all else: start, evaluation, files.

    Returns:
        Why it must be stopped; None if it may go on.
    """
    silence = now - (spawned if heartbeat is None else heartbeat.beat)
    if silence > SILENCE_S:
        return Verdict(status="killed", reason=f"no heartbeat for {silence:.0f} s", gently=False)
    if heartbeat is None:
        return None
    if limit_s is not None and heartbeat.part in CHARGED:
        # A step that has begun is finished, and the step of a large model takes seconds.
        most = limit_s + max(GRACE_S, GRACE_SHARE * limit_s)
        if heartbeat.charged_s > most:
            spent = f"charged {heartbeat.charged_s:.0f} s of a budget of {limit_s:.0f} s"
            reason = f"{spent}, still in {heartbeat.part}"
            return Verdict(status="timeout", reason=reason, gently=True)
    # All that is not charged counts together: start, looks, evaluation, files.
    # But for waits of which other jobs are the cause.
    uncharged = now - spawned - heartbeat.charged_s - heartbeat.waited_s
    if uncharged > uncharged_limit_s:
        reason = f"{uncharged:.0f} s outside training ({heartbeat.doing}); see --timeout"
        return Verdict(status="timeout", reason=reason, gently=True)
    return None


def foresee(
    heartbeat: Heartbeat, *, num_test: int, limit_s: float | None, uncharged_limit_s: float
) -> str | None:
    """Says of a worker that trains what its evaluation will take, where that is more than training.

    Args:
        num_test: Examples of the test split.
        limit_s: Charged seconds that it may use; None under a budget without a time limit.
        uncharged_limit_s: Seconds that it may spend outside training.

    Returns:
        A line; None where evaluation is shorter, or not foreseen.
    """
    evaluation_s, used = heartbeat.evaluation_s, heartbeat.progress
    at_this_pace = heartbeat.charged_s / used if used > 0.0 else math.inf
    training_s = min(at_this_pace, math.inf if limit_s is None else limit_s)
    if evaluation_s is None or evaluation_s < max(training_s, SHORT_S):
        return None
    draws = heartbeat.evaluation_draws
    what = f"{num_test:,} test examples" + (f" with {draws} draws each" if draws > 1 else "")
    line = (
        f"to evaluate {what} will take about {duration_text(evaluation_s)}, "
        f"longer than training ({duration_text(training_s)})"
    )
    if evaluation_s > uncharged_limit_s:
        line += f" and than --timeout allows ({duration_text(uncharged_limit_s)})"
    return line + ("; fewer: --eval-draws" if draws > 1 else "")
