"""When a worker must be stopped, judged from its heartbeat."""

from __future__ import annotations

from dataclasses import dataclass

from flowbench.runner.attempt import Heartbeat
from flowbench.store.records import AttemptStatus
from flowbench.training.clock import CHARGED

SILENCE_S = 120.0  # imports on a cold disk take tens of seconds
GRACE_S = 10.0
GRACE_SHARE = 0.05


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
        most = limit_s + max(GRACE_S, GRACE_SHARE * limit_s)
        if heartbeat.charged_s > most:
            spent = f"charged {heartbeat.charged_s:.0f} s of a budget of {limit_s:.0f} s"
            reason = f"{spent}, still in {heartbeat.part}"
            return Verdict(status="timeout", reason=reason, gently=True)
    uncharged = now - spawned - heartbeat.charged_s
    if uncharged > uncharged_limit_s:
        reason = f"{uncharged:.0f} s outside training ({heartbeat.doing}); see --timeout"
        return Verdict(status="timeout", reason=reason, gently=True)
    return None
