"""Jobs -> attempts: starts workers in the executor's slots, watches them, keeps their records."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from flowbench.budget import Budget, size_text
from flowbench.errors import StoreError
from flowbench.registry import PluginSelection
from flowbench.runner.attempt import (
    CHECKPOINT,
    HEARTBEAT,
    ORDER,
    AttemptDir,
    Heartbeat,
    ResultsDir,
    WorkOrder,
)
from flowbench.runner.decide import Decision
from flowbench.runner.executors.base import Executor, Handle, Slot
from flowbench.runner.executors.memory import MemoryWatch
from flowbench.runner.plan import Job
from flowbench.runner.under_way import code_columns
from flowbench.runner.watchdog import SILENCE_S, Verdict, foresee, judge
from flowbench.runner.worker import utc_now
from flowbench.store.attempt_files import RECORD
from flowbench.store.reconcile import reconcile, stamp
from flowbench.store.records import AttemptRow, AttemptStatus

POLL_S = 0.1
KILL_AFTER_S = 30.0
# By which a process ends of its own doing, and would again.
OWN_SIGNALS = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
)
INGEST_WAIT_S = 1.0  # nobody looks after the workers meanwhile


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What all jobs of a run share.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        timeout_s: Seconds that an attempt may spend outside its budget.
        max_rss: Bytes of memory that a worker may hold, with all that it started; None for its
            share of the machine's.
    """

    device: str
    data_dir: Path
    plugins: PluginSelection
    timeout_s: float
    command: tuple[str, ...]
    max_rss: int | None = None


class RunObserver(Protocol):
    """Who watches a run: the terminal, or a test."""

    def started(self, job: Job, attempt: AttemptDir, slot: Slot) -> None:
        """A worker was started."""
        ...

    def beat(self, job: Job, heartbeat: Heartbeat) -> None:
        """A worker says what it is doing."""
        ...

    def ended(self, job: Job, record: AttemptRow) -> None:
        """An attempt has ended, and its record is written."""
        ...

    def stopping(self, num_jobs: int) -> None:
        """The user has interrupted the run, and jobs that run save their state."""
        ...

    def warn(self, message: str) -> None:
        """Something went wrong that does not end the run."""
        ...


@dataclass
class _Active:
    """A worker that runs."""

    job: Job
    attempt: AttemptDir
    order: WorkOrder
    slot: Slot
    handle: Handle
    memory: MemoryWatch
    verdict: Verdict | None = None
    kill_at: float | None = None


class Scheduler:
    """Runs decisions to their records."""

    def __init__(
        self,
        results: ResultsDir,
        executor: Executor,
        options: RunOptions,
        observer: RunObserver,
    ) -> None:
        self._results, self._executor = results, executor
        self._options, self._observer = options, observer
        self._free = list(executor.slots)
        self._active: list[_Active] = []
        self._records: dict[str, AttemptRow] = {}
        self._is_behind = False
        self._foreseen: list[tuple[str, dict[str, Any], str]] = []

    def run(self, decisions: Sequence[tuple[Job, Decision]]) -> dict[str, AttemptRow]:
        """Runs all that has to run; on an interrupt, workers save their state first.

        Args:
            decisions: Jobs and what to do for each.

        Returns:
            The latest record of each job that ran, was reused or was skipped, by job id.

        Raises:
            KeyboardInterrupt: The user interrupted, and every worker has ended.
        """
        waiting = deque(pair for pair in decisions if pair[1].starts)
        # Before any worker: a skip, with its reason, is there even if the run is interrupted.
        for job, decision in decisions:
            if not decision.starts:
                self._settle(job, decision)
        try:
            while waiting or self._active:
                while waiting and self._free:
                    self._start(*waiting.popleft())
                self._watch()
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            self._wind_down()
            raise
        return self._records

    # --- starting ---------------------------------------------------------------------------------

    def _settle(self, job: Job, decision: Decision) -> None:
        """Records a job that needs no worker."""
        record = decision.source.record() if decision.source else None
        if decision.action == "skip":
            earlier = [r for a in self._results.attempts(job.row.job_id) if (r := a.record())]
            # Said once: each run of the same suite would add a record otherwise.
            if earlier and earlier[-1].status == "skipped" and earlier[-1].reason == decision.why:
                record = earlier[-1]
            else:
                attempt = self._results.new_attempt(job.row.job_id)
                record = _bare_record(job, attempt.number, "skipped", decision.why)
                attempt.write_record(record)
                self._ingest(attempt)
        if record is not None:
            self._records[job.row.job_id] = record

    def _start(self, job: Job, decision: Decision) -> None:
        slot = self._free.pop(0)
        attempt = self._results.new_attempt(job.row.job_id)
        order = self._order(job, decision, attempt, slot)
        # Before the worker starts: one that dies while it imports has still said what it ran.
        attempt.write_code(job.code)
        attempt.write(ORDER, order.model_dump_json(indent=1))
        handle = self._executor.launch(attempt.path, slot)
        memory = MemoryWatch(self._options.max_rss)
        self._active.append(_Active(job, attempt, order, slot, handle, memory))
        self._observer.started(job, attempt, slot)

    def _order(self, job: Job, decision: Decision, attempt: AttemptDir, slot: Slot) -> WorkOrder:
        source = decision.source if decision.action in ("resume", "evaluate") else None
        measured = source.record() if source else None
        # What was measured before is measured again, or the new record would lack it.
        # But what failed, or what takes the worker with it would do so for good.
        rows = measured.measurements if measured else ()
        earlier = [m.metric for m in rows if m.status != "failed"]
        plugins = self._options.plugins
        return WorkOrder(
            job=job.row,
            number=attempt.number,
            metrics=tuple(dict.fromkeys((*job.metrics, *earlier))),
            resume=str(source.path) if source else None,
            device=self._options.device,
            num_threads=slot.num_threads,
            cores=slot.cores,
            data_dir=str(self._options.data_dir),
            plugins_only=plugins.only,
            plugins_excluded=plugins.exclude,
            plugin_files=tuple(str(path) for path in plugins.files),
            spawned=time.monotonic(),
            spawned_utc=utc_now(),
            command=self._options.command,
        )

    # --- watching ---------------------------------------------------------------------------------

    def _watch(self) -> None:
        for active in list(self._active):
            active.attempt.trim_log()
            status = active.handle.poll()
            heartbeat = active.attempt.heartbeat()
            if heartbeat is not None:
                self._observer.beat(active.job, heartbeat)
            if status is not None:
                # A process that has ended is asked no more: its last heartbeat may look like a
                # hang.
                self._finish(active, status)
                continue
            if heartbeat is not None:
                self._foresee(active, heartbeat)
            self._enforce(active, heartbeat)

    def _foresee(self, active: _Active, heartbeat: Heartbeat) -> None:
        """Tells of a long wait to come, once of each model and dataset."""
        row = active.job.row
        line = foresee(
            heartbeat,
            num_test=active.job.info.num_test,
            limit_s=_limit_s(active),
            uncharged_limit_s=self._options.timeout_s,
        )
        if line is not None and (row.model, row.config, row.dataset) not in self._foreseen:
            self._foreseen.append((row.model, row.config, row.dataset))
            self._observer.warn(f"{row.model}:{row.preset} on {row.dataset}: {line}")

    def _enforce(self, active: _Active, heartbeat: Heartbeat | None) -> None:
        now = time.monotonic()
        if active.kill_at is not None:
            if now > active.kill_at:
                active.handle.kill()
            return
        if active.attempt.is_asked_to_stop():  # by `flowbench cancel`, in whatever terminal
            status, reason = active.attempt.stopped_by()
            self._stop(active, Verdict(status=status, reason=reason, gently=True))
            return
        too_much = active.memory.look(active.handle.held_bytes)
        if too_much is not None:
            self._stop(active, Verdict(status="oom", reason=too_much, gently=False))
            return
        verdict = judge(
            heartbeat,
            now=now,
            spawned=active.order.spawned,
            limit_s=_limit_s(active),
            uncharged_limit_s=self._options.timeout_s,
        )
        if verdict is not None:
            self._stop(active, verdict)

    def _stop(self, active: _Active, verdict: Verdict) -> None:
        active.verdict = verdict
        active.attempt.ask_to_stop(verdict.status, verdict.reason)
        active.kill_at = time.monotonic() + (KILL_AFTER_S if verdict.gently else 0.0)
        active.handle.terminate()

    def _finish(self, active: _Active, exit_status: int) -> None:
        record = active.attempt.record()
        if record is None:
            # Every attempt leaves a record, this one by its parent.
            record = self._obituary(active, exit_status)
            active.attempt.write_record(record)
        # Only now that it has a record: an interrupt before would wait for it again.
        self._active.remove(active)
        self._free.append(active.slot)
        # The lowest first, so that jobs that never overlap run on the same cores or GPU.
        self._free.sort(key=lambda slot: slot.index)
        self._records[active.job.row.job_id] = record
        if record.status == "ok":
            # Of no use any more, and several times as large as the weights.
            for attempt in self._results.attempts(active.job.row.job_id):
                (attempt.path / CHECKPOINT).unlink(missing_ok=True)
        self._ingest(active.attempt)
        self._observer.ended(active.job, record)

    def _obituary(self, active: _Active, exit_status: int) -> AttemptRow:
        """The record of a worker that died without writing one."""
        heartbeat = active.attempt.heartbeat()
        last_heard = f", last heard of while {heartbeat.doing}" if heartbeat else ""
        if active.verdict is not None:
            status, reason = active.verdict.status, active.verdict.reason
        elif -exit_status in OWN_SIGNALS:
            status = "crashed"
            reason = f"the worker ended by {signal.Signals(-exit_status).name}{last_heard}"
        elif exit_status < 0:
            status = "killed"
            reason = f"the worker was killed by signal {-exit_status}{last_heard}"
            if exit_status == -9 and active.memory.ended_by_system():
                status = "oom"
                reason = f"the system ended the worker for want of memory{last_heard}"
            elif exit_status == -9:
                reason += " (did the machine run out of memory?)"
        else:
            status = "crashed"
            reason = f"the worker ended with exit status {exit_status} without a record{last_heard}"
        peak = active.memory.peak
        if status == "oom" and peak is not None:
            reason += f"; at its peak it held {size_text(peak)}"
        record = obituary(active.job, active.attempt, status, reason)
        load = None if peak is None else {"peak_resident_bytes": float(peak)}
        return record.model_copy(update={"load": load})

    def _wind_down(self) -> None:
        """Asks every worker to save its state, and waits for their records; or ends them at once.

        A worker that is past saving holds up an interrupt: a second one does not wait for it.
        """
        asked = Verdict(status="preempted", reason="the run was interrupted", gently=True)
        twice = Verdict(status="killed", reason="the run was interrupted twice", gently=False)
        try:
            if self._active:
                self._observer.stopping(len(self._active))
            for active in self._active:
                if active.kill_at is None:
                    self._stop(active, asked)
            self._watch_to_the_end()
        except KeyboardInterrupt:
            for active in self._active:
                active.verdict = twice
                active.handle.kill()
            self._watch_to_the_end()

    def _watch_to_the_end(self) -> None:
        while self._active:
            self._watch()
            time.sleep(POLL_S)

    def _ingest(self, attempt: AttemptDir) -> None:
        """Shows an attempt in the database as soon as it has ended."""
        results = self._results.path
        path = str((attempt.path / RECORD).relative_to(results))
        try:
            only = {path: stamp(results / path)}
            reconcile(results, report=self._observer.warn, wait_s=INGEST_WAIT_S, only=only)
        except (StoreError, OSError) as exc:
            # Whoever reads next brings it in: nothing is lost by a database that is in use.
            if not self._is_behind:
                self._observer.warn(f"{exc}; the attempts themselves are safe")
            self._is_behind = True


def _limit_s(active: _Active) -> float | None:
    return Budget.parse(active.job.row.budget).time_limit_s(1)


def recover(job: Job, results: ResultsDir) -> str | None:
    """Records attempts whose process is gone without a word, e.g. after a power cut.

    Returns:
        Why the job must be left alone, if another run is at work on it; else None.
    """
    for attempt in results.attempts(job.row.job_id):
        if attempt.record() is not None:
            continue
        if _is_alive(attempt):
            return f"another run is at work on it (attempt {attempt.number})"
        reason = "its process ended without a record"
        attempt.write_record(obituary(job, attempt, "killed", reason))
    return None


def _is_alive(attempt: AttemptDir) -> bool:
    heartbeat = attempt.heartbeat()
    sign = attempt.path / (HEARTBEAT if heartbeat else ORDER)
    # By the file's own time: heartbeats hold monotonic times, which start anew with the machine.
    fresh = sign.exists() and time.time() - sign.stat().st_mtime < SILENCE_S
    if heartbeat is None or not fresh:
        return fresh
    try:
        os.kill(heartbeat.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives, and belongs to somebody else
        return True
    return True


def obituary(job: Job, attempt: AttemptDir, status: AttemptStatus, reason: str) -> AttemptRow:
    """The record of an attempt that wrote none, from its last heartbeat."""
    bare = _bare_record(job, attempt.number, status, reason)
    heartbeat = attempt.heartbeat()
    known = {"log_tail": attempt.log_tail(), **code_columns(attempt.code())}
    if (measured := attempt.measured()) is not None:
        known["measurements"] = measured.with_the_last_failed()
    if heartbeat is None:
        return bare.model_copy(update=known)
    spent = {"steps": heartbeat.step, "charged_s": heartbeat.charged_s}
    return bare.model_copy(update={**known, **spent})


def _bare_record(job: Job, number: int, status: AttemptStatus, reason: str) -> AttemptRow:
    return AttemptRow(
        attempt_id=f"{job.row.job_id}-{number}",
        number=number,
        job=job.row,
        status=status,
        reason=reason,
        started=utc_now(),
        ended=utc_now(),
    )
