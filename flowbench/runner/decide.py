"""Decides what to do for a job, from the attempts at it so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from flowbench.budget import Budget
from flowbench.errors import BRIEF, StoreError, printable
from flowbench.runner.attempt import CHECKPOINTS, MODEL, AttemptDir
from flowbench.runner.plan import Job
from flowbench.store.records import RUNG, AttemptRow

NOT_RUN = "not run yet"

Rerun = Literal["failed", "stale", "contended", "all"]
FAILED = frozenset({"timeout", "oom", "diverged", "crashed"})


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a time budget's result is comparable on.

    Attributes:
        device_kind: ``cpu``, ``cuda`` or ``mps``.
        num_threads: CPU threads of a worker.
        num_devices: Devices of a job.
        executor: What a queue elsewhere is asked for, in words, which is all that is known of where
            a job will run; None for this machine.
    """

    device_kind: str
    device_name: str
    num_threads: int
    num_devices: int = 1
    executor: str | None = None

    def matches(self, record: AttemptRow) -> bool:
        """Whether an attempt ran on such a machine."""
        if record.device_name is not None and record.num_devices != self.num_devices:
            return False
        if self.executor is not None:
            return record.provenance.get("executor") == self.executor
        ran = (record.device_kind, record.device_name, record.num_threads)
        return ran == (self.device_kind, self.device_name, self.num_threads)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do for a job.

    Attributes:
        action: ``run`` from the start; ``resume`` training; ``evaluate`` weights that are trained;
            ``reuse`` the result that there is; ``leave`` a failure as it is; ``skip`` what cannot
            run; ``wait`` for what another run is at work on.
        why: The reason, in a few words.
        source: The attempt to go on from, or whose result is reused.
        stale: The reused result was made by another core.
        instead: The job that stands in its place, since it ran out of memory.
    """

    action: Literal["run", "resume", "evaluate", "reuse", "leave", "skip", "wait"]
    why: str
    source: AttemptDir | None = None
    stale: bool = False
    instead: Job | None = None

    @property
    def starts(self) -> bool:
        """Whether a worker is needed."""
        return self.action in ("run", "resume", "evaluate")


Known = Sequence[tuple[AttemptDir, AttemptRow]]


def decide(
    job: Job, attempts: Sequence[AttemptDir], machine: Machine, rerun: Rerun | None
) -> Decision:
    """Chooses between running, resuming and reusing.

    Only attempts by the code of model and dataset that is there now are gone on from or reused; one
    that does not say which code it ran was made by other code. A failure of other code is tried
    again as well.

    Args:
        attempts: Its attempts, oldest first.
        machine: What this run's results are comparable on.
        rerun: What the user wants anew.
    """
    if job.unsupported is not None:
        return Decision(action="skip", why=job.unsupported)
    if rerun == "all":
        return Decision(action="run", why="asked for by --rerun all")
    try:
        read = [(a, r) for a in attempts if (r := a.record()) is not None]
    except StoreError as exc:
        if rerun != "failed":
            return Decision(action="leave", why=f"{exc} (--rerun failed)")
        return Decision(action="run", why="a record cannot be read; asked for by --rerun failed")
    # Steps are the same on every machine; seconds buy more of them on a fast one.
    time_like = Budget.parse(job.row.budget).time_like
    known = [(a, r) for a, r in read if r.status != "skipped" and _tells(job, a, r)]
    if time_like:
        # One that failed before it knew its device says as much of this machine as of any.
        known = [(a, r) for a, r in known if r.device_name is None or machine.matches(r)]
    if not known:
        return Decision(action="run", why=NOT_RUN)
    mine = [(a, r) for a, r in known if _edited(job, r) is None]
    if not mine:
        return Decision(action="run", why=f"{_edited(job, known[-1][1])}")
    # A later failure does not undo a result that is there.
    done = [(a, r) for a, r in mine if r.status == "ok"]
    return _reuse(job, *done[-1], rerun) if done else go_on(mine, rerun)


def _tells(job: Job, attempt: AttemptDir, record: AttemptRow) -> bool:
    """Whether an attempt says anything of a job: for more than a trial, what one has trained."""
    if job.trial is not None or (record.trial is None and record.status != "pruned"):
        return True
    return record.status not in ("ok", "pruned") or (attempt.path / MODEL).exists()


def _edited(job: Job, record: AttemptRow) -> str | None:
    """What of a job's code is not what made an attempt, in words; None if all is."""
    if record.model_code is None or record.dataset_code is None:
        return "its attempts do not say which code they ran"
    if record.model_code != job.code.model:
        return f"the code of {job.row.model} has changed"
    if record.dataset_code != job.code.dataset:
        return f"the code of {job.row.dataset} has changed"
    return None


def _reuse(job: Job, attempt: AttemptDir, record: AttemptRow, rerun: Rerun | None) -> Decision:
    stale = record.core_code != job.code.core
    if stale and rerun == "stale":
        return Decision(action="run", why="the result was made by another version of flowbench")
    if record.contended and rerun == "contended":
        return Decision(action="run", why="training waited for a core")
    measured = {
        m.metric: m.code
        for m in record.measurements
        # What was missing then, and may be here now, counts as not measured.
        if m.status != "unavailable" or m.metric not in job.retry
    }
    climbed = {m.metric for m in record.measurements if RUNG in m.protocol}
    # One that could not be had under the usual setting has no rungs either.
    ok = {m.metric for m in record.measurements if m.status == "ok"}
    missing = [
        name
        for name in job.metrics
        if name not in measured or (name in job.ladder & ok and name not in climbed)
    ]
    edited = [n for n in job.metrics if n in measured and measured[n] != job.code.metrics.get(n)]
    tuned = _tuned_since(job, record)
    if (attempt.path / MODEL).exists() and (missing or edited or tuned):
        whys = [f"to measure {', '.join(sorted(missing))}"] if missing else []
        whys += [tuned] if tuned else []
        whys += [f"the code of {', '.join(edited)} has changed"] if edited else []
        why = "; ".join(whys)
        return Decision(action="evaluate", why=why, source=attempt)
    if edited:
        why = f"the code of {', '.join(edited)} has changed, and the weights are gone"
        return Decision(action="run", why=why)
    why = "done, by another version of flowbench (--rerun stale)" if stale else "done"
    return Decision(action="reuse", why=why, source=attempt, stale=stale)


def _tuned_since(job: Job, record: AttemptRow) -> str:
    """Which sweep chose the job's configuration that its result does not tell of; else nothing."""
    now, then = job.tuning, record.tuning
    if now is None or now.sweep is None:
        return ""
    told = then is not None and (then.sweep, then.trials) == (now.sweep, now.trials)
    return "" if told else f"chosen by a sweep of {now.trials} trials"


def go_on(known: Known, rerun: Rerun | None) -> Decision:
    """Chooses where to go on after attempts none of which has a result.

    Args:
        known: The attempts, oldest first.
        rerun: What the user wants anew.
    """
    attempt, record = known[-1]
    attempts = [a for a, _ in known]
    if record.status == "pruned":
        return Decision(action="leave", why=f"pruned: {record.reason}", source=attempt)
    # Left alone, or each run of a suite would spend its time on what fails anyway.
    if record.status in FAILED and rerun != "failed":
        reason = printable(record.reason or "", BRIEF)
        why = f"{record.status}: {reason} (--rerun failed)"
        return Decision(action="leave", why=why, source=attempt)
    # Trained weights before a checkpoint: then only the evaluation is left to do.
    latest = _latest_with(attempts, MODEL)
    if latest is not None:
        return Decision(action="evaluate", why=f"trained, then {record.status}", source=latest)
    if record.status in FAILED:
        return Decision(action="run", why=f"was {record.status}, asked for by --rerun failed")
    latest = _latest_with(attempts, *CHECKPOINTS)
    if latest is not None:
        return Decision(action="resume", why=f"was {record.status}", source=latest)
    return Decision(action="run", why=f"was {record.status}, without a checkpoint")


def _latest_with(attempts: list[AttemptDir], *names: str) -> AttemptDir | None:
    found = [a for a in attempts if any((a.path / name).exists() for name in names)]
    return found[-1] if found else None
