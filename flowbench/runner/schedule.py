"""Jobs -> attempts: gives them to an executor, watches them, keeps their records.

Workers in the slots of this machine are this run's: it holds their jobs, stops what overruns, and
they end with it. What is in a queue that outlives the run belongs to no run: any can follow it, by
what the executor says and the attempt's own files, and it goes on without.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from flowbench.api.executors import Executor, JobState, Lifeline, Slot, Submission
from flowbench.budget import Budget, size_text
from flowbench.errors import ConfigError, ExecutorError, FlowbenchError, StoreError, text_of
from flowbench.paths import WEIGHTS
from flowbench.registry import PluginSelection
from flowbench.runner.attempt import (
    CHECKPOINTS,
    ORDER,
    PLACED,
    AttemptDir,
    Heartbeat,
    Limits,
    Placement,
    ResultsDir,
    WorkOrder,
)
from flowbench.runner.decide import Decision
from flowbench.runner.executors.left_over import end_left_over
from flowbench.runner.executors.memory import MemoryWatch
from flowbench.runner.half_batch import half_batch
from flowbench.runner.ownership import Claim, Owner, claim
from flowbench.runner.placed import Placed, in_words, is_over
from flowbench.runner.plan import Job
from flowbench.runner.queue import Queue
from flowbench.runner.under_way import code_columns
from flowbench.runner.watchdog import KILL_AFTER_S, Verdict, foresee, judge
from flowbench.runner.worker import utc_now
from flowbench.store.attempt_files import RECORD
from flowbench.store.reconcile import reconcile, stamp
from flowbench.store.records import INFO, RUNG, AttemptRow, AttemptStatus, JobRow

POLL_S = 0.1
# By which a process ends of its own doing, and would again.
OWN_SIGNALS = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
)
LOOK_EVERY_S = 1.0  # for jobs that other runs are at work on, or that a queue has
HANDED_AT_ONCE = 500  # as many files are open meanwhile; clusters take arrays of 1,000
WITHOUT_A_RECORD = "its process ended without a record"
SETTLE_S = 10.0  # until a record is seen that was written on another machine
INGEST_WAIT_S = 1.0  # nobody looks after the workers meanwhile


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What all jobs of a run share.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        timeout_s: Seconds that an attempt may spend outside its budget.
        max_rss: Bytes of memory that a worker may hold, with all that it started; None for its
            share of the machine's.
        wait: Wait for jobs that other runs are at work on.
        detach: Leave workers at work when this run ends before them.
        executor: Name of where jobs run.
        executor_options: What is asked for there.
        half_batch: Try what runs out of memory again with half of a batch at a time.
    """

    device: str
    data_dir: Path
    plugins: PluginSelection
    timeout_s: float
    command: tuple[str, ...]
    max_rss: int | None = None
    wait: bool = True
    detach: bool = False
    half_batch: bool = False
    executor: str = "local"
    executor_options: Mapping[str, str] = field(default_factory=dict)

    @property
    def elsewhere(self) -> str | None:
        """The executor and what is asked of it, in words; None for this machine alone."""
        return None if self.executor == "local" else in_words(self.executor, self.executor_options)


class RunObserver(Protocol):
    """Who watches a run: the terminal, or a test."""

    def added(self, job: Job) -> None:
        """A job is to run in the place of one that ran out of memory."""
        ...

    def placed(self, job: Job, placement: Placement, state: JobState | None) -> None:
        """A queue has a job, which waits there to be begun; told again as long as it does."""
        ...

    def started(self, job: Job, attempt: AttemptDir, num_threads: int) -> None:
        """A worker was started."""
        ...

    def beat(self, job: Job, heartbeat: Heartbeat) -> None:
        """A worker says what it is doing."""
        ...

    def ended(self, job: Job, record: AttemptRow) -> None:
        """An attempt has ended, and its record is written; perhaps by another run."""
        ...

    def stopping(self, num_jobs: int) -> None:
        """The user has interrupted the run, and jobs that run save their state."""
        ...

    def warn(self, message: str) -> None:
        """Something went wrong that does not end the run."""
        ...


Decide = Callable[[Job, bool], Decision]
"""What to do for a job now; and whether it was another run's until now."""


@dataclass
class _Active:
    """A worker in a slot of this machine."""

    job: Job
    attempt: AttemptDir
    order: WorkOrder
    slot: Slot
    claim: Claim
    name: str
    memory: MemoryWatch
    verdict: Verdict | None = None
    kill_at: float | None = None


@dataclass
class _Followed:
    """A job that a queue has, which outlives this run."""

    job: Job
    attempt: AttemptDir
    placement: Placement
    executor: Executor
    begun: int = 0
    end_at: float = math.inf


class Scheduler:
    """Runs decisions to their records.

    Args:
        decide: Decides for a job once it is this run's alone.
        placed: Asks of jobs that a queue has.

    Attributes:
        decided: The jobs, those that came in the place of others behind them, and what was decided
            last for each, by its id.
    """

    def __init__(
        self,
        results: ResultsDir,
        executor: Executor,
        options: RunOptions,
        observer: RunObserver,
        decide: Decide,
        placed: Placed,
    ) -> None:
        self._results, self._executor, self._placed = results, executor, placed
        self._options, self._observer, self._decide = options, observer, decide
        self._free = list(executor.slots)
        self._waiting: deque[Job] = deque()
        self._queue = Queue(results.runs)
        self._elsewhere: list[Job] = []
        self._look_at = self._follow_at = 0.0
        self._active: list[_Active] = []
        self._handed: list[tuple[Job, AttemptDir, Claim]] = []
        self._followed: list[_Followed] = []
        self._unwritten: list[tuple[AttemptDir, AttemptRow]] = []
        self._records: dict[str, AttemptRow] = {}
        self._is_behind = False
        self._foreseen: list[tuple[str, dict[str, Any], str]] = []
        self._interrupts = self._obeyed = 0
        self.decided: dict[str, tuple[Job, Decision]] = {}

    def interrupt(self) -> None:
        """Asks the run to end: workers save their state first. Twice: it ends now."""
        # Only counted: this is called by signals, in the middle of anything.
        self._interrupts += 1

    def run(self, decisions: Sequence[tuple[Job, Decision]]) -> dict[str, AttemptRow]:
        """Runs all that has to run; on an interrupt, workers save their state first.

        Args:
            decisions: Jobs and what to do for each.

        Returns:
            The latest record of each job that ran, was reused or was skipped, by job id.

        Raises:
            KeyboardInterrupt: The user interrupted, and every worker has ended.
        """
        for job, decision in decisions:
            self._decided_for(job, decision)
        # Before any worker: a skip, with its reason, is there even if the run is interrupted.
        for job, decision in decisions:
            if decision.starts or decision.action == "wait":
                self._waiting.append(job)
            else:
                self._settle(job, decision)
        self._queue.close()  # of one that had this number before, and was killed
        # Workers hold its reading end: they see that this process is gone, however it ended.
        self._alive, writing_end = os.pipe()
        try:
            while self._goes_on():
                self._fill()
                self._watch()
                time.sleep(POLL_S)
                if self._interrupts > self._obeyed:
                    self._obey()
            self._write_what_is_left(last=True)
        finally:
            self._executor.close()
            os.close(self._alive)
            os.close(writing_end)
            self._queue.close()
        if self._interrupts:
            raise KeyboardInterrupt
        return self._records

    def _goes_on(self) -> bool:
        waits = (self._elsewhere or self._followed) and self._options.wait
        return bool(self._active or self._waiting or waits)

    # --- starting ---------------------------------------------------------------------------------

    def _settle(self, job: Job, decision: Decision) -> None:
        """Notes the record of a job that needs no worker, and makes that of a skip."""
        try:
            record = decision.source.record() if decision.source else None
            if decision.action == "skip":
                record = self._skipped(job, decision.why)
        except (StoreError, OSError) as exc:
            self._observer.warn(f"{job.label}: {exc}")
            return
        if record is not None:
            self._note(job, record, decision.source)

    def _decided_for(self, job: Job, decision: Decision) -> Decision:
        self.decided[job.row.job_id] = (job, decision)
        return decision

    def _note(self, job: Job, record: AttemptRow, attempt: AttemptDir | None) -> None:
        """Notes how a job ended; one that ran out of memory gives its place to another."""
        self._records[job.row.job_id] = record
        wanted = self._options.half_batch and not self._interrupts
        if attempt is None or record.status != "oom" or not wanted:
            return
        try:
            half = half_batch(job, attempt, record)
        except ConfigError as exc:
            self._observer.warn(str(exc))
            return
        _, decision = self.decided[job.row.job_id]
        self._decided_for(job, replace(decision, instead=half))
        if half.row.job_id in self.decided:  # it was asked for by itself
            return
        decision = self._decided_for(half, self._decide(half, False))
        if decision.starts:
            self._observer.added(half)
            self._waiting.append(half)
        else:
            self._settle(half, decision)

    def _skipped(self, job: Job, why: str) -> AttemptRow:
        earlier = [r for a in self._results.attempts(job.row.job_id) if (r := a.record())]
        # Said once: each run of the same suite would add a record otherwise.
        if earlier and earlier[-1].status == "skipped" and earlier[-1].reason == why:
            return earlier[-1]
        attempt = self._results.new_attempt(job.row.job_id)
        record = _bare_record(job.row, attempt.number, "skipped", why)
        attempt.write_record(record)
        self._ingest(attempt)
        return record

    def _fill(self) -> None:
        """Starts what can be started, and looks again for jobs that other runs had."""
        while self._waiting and self._has_room():
            job = self._waiting.popleft()
            if self._queue.is_cancelled(job.row.job_id):
                self._do_without(job, "preempted", "cancelled by flowbench cancel before it began")
            else:
                self._start(job, waited=False)
        self._queue.show({job.row.job_id: job.label for job in self._waiting})
        if self._elsewhere and self._has_room() and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_EVERY_S
            again, self._elsewhere = self._elsewhere, []
            for job in again:
                if self._has_room():
                    self._start(job, waited=True)
                else:
                    self._elsewhere.append(job)
        self._hand_over()

    def _has_room(self) -> bool:
        return bool(self._free) if self._executor.slots else len(self._handed) < HANDED_AT_ONCE

    def _start(self, job: Job, *, waited: bool) -> None:
        try:
            self._start_if_ours(job, waited)
        except (StoreError, OSError) as exc:
            # The trouble of one job: a folder that is gone, a disk that is full.
            self._do_without(job, "crashed", f"it could not be started: {text_of(exc)}")

    def _do_without(self, job: Job, status: AttemptStatus, reason: str) -> None:
        """Notes a job of which there is no attempt."""
        record = self._records[job.row.job_id] = _bare_record(job.row, 0, status, reason)
        self._observer.ended(job, record)

    def _start_if_ours(self, job: Job, waited: bool) -> None:
        if (found := self._placed.of_job(job.row.job_id)) is not None:
            self._follow(job, *found, waited)
            return
        taken = claim(
            self._results.runs / job.row.job_id,
            Owner.of_this_process(
                started=utc_now(), command=self._options.command, detached=self._options.detach
            ),
        )
        if not isinstance(taken, Claim):
            self._leave_to(job, "running elsewhere" if taken is None else str(taken), waited)
            return
        try:
            bury(self._results, job.row, self._placed)
            # Again, now that nobody else is at work on it: it may have been done meanwhile.
            decision = self._decided_for(job, self._decide(job, waited))
            if decision.starts:
                self._launch(job, decision, taken)
                return
        except BaseException:
            taken.release()
            raise
        taken.release()
        self._settle(job, decision)
        if (record := self._records.get(job.row.job_id)) is not None:
            self._observer.ended(job, record)

    def _leave_to(self, job: Job, where: str, waited: bool) -> None:
        """Leaves a job to another run, and says so once."""
        self._decided_for(job, Decision(action="wait", why=where))
        self._elsewhere.append(job)
        if not waited and self._options.wait:
            self._observer.warn(f"{job.label}: {where}; waiting for it (--no-wait leaves it)")

    def _launch(self, job: Job, decision: Decision, taken: Claim) -> None:
        attempt = self._results.new_attempt(job.row.job_id)
        slot = self._free[0] if self._executor.slots else None
        order = self._order(job, decision, attempt, slot)
        # Before the worker starts: one that dies while it imports has still said what it ran.
        attempt.write_code(job.code)
        attempt.write(ORDER, order.model_dump_json(indent=1))
        taken.begins(attempt.number)
        if slot is None:
            self._handed.append((job, attempt, taken))
            return
        alive = None if self._options.detach else self._alive
        lifeline = Lifeline(taken.lock, alive)
        submission = Submission(folder=attempt.path, slot=slot, lifeline=lifeline)
        (name,) = self._executor.submit([submission])
        del self._free[0]
        memory = MemoryWatch(self._options.max_rss)
        self._active.append(_Active(job, attempt, order, slot, taken, name, memory))
        self._observer.started(job, attempt, slot.num_threads)

    def _hand_over(self) -> None:
        """Gives a queue that outlives this run all that there is for it, at once."""
        handed, self._handed = self._handed, []
        if not handed:
            return
        options, name = self._options.executor_options, self._options.executor
        try:
            names = self._executor.submit([Submission(folder=a.path) for _, a, _ in handed])
        except BaseException:
            for _, attempt, _ in handed:  # of which nothing has begun
                shutil.rmtree(attempt.path, ignore_errors=True)
            raise
        else:
            for (job, attempt, _), known_as in zip(handed, names, strict=True):
                placement = Placement(executor=name, options=options, job=known_as)
                # Before it is let go: nobody may take it for one that died.
                attempt.write(PLACED, placement.model_dump_json())
                waits = JobState(phase="waiting")
                self._follow(job, attempt, placement, waits, waited=True)
        finally:
            for _, _, taken in handed:
                with contextlib.suppress(OSError):  # the folder is gone
                    taken.release()

    def _order(
        self, job: Job, decision: Decision, attempt: AttemptDir, slot: Slot | None
    ) -> WorkOrder:
        source = decision.source if decision.action in ("resume", "evaluate") else None
        measured = source.record() if source else None
        # What was measured before is measured again, or the new record would lack it.
        # But what failed, or what takes the worker with it would do so for good.
        rows = measured.measurements if measured else ()
        earlier = [m.metric for m in rows if m.status != "failed" and not m.metric.startswith(INFO)]
        plugins = self._options.plugins
        return WorkOrder(
            job=job.row,
            number=attempt.number,
            metrics=tuple(dict.fromkeys((*job.metrics, *earlier))),
            ladder=bool(job.ladder) or any(RUNG in m.protocol for m in rows),
            resume=str(source.path) if source else None,
            device=self._options.device,
            num_threads=0 if slot is None else slot.num_threads,
            cores=None if slot is None else slot.cores,
            data_dir=str(self._options.data_dir),
            plugins_only=plugins.only,
            plugins_excluded=plugins.exclude,
            plugin_files=tuple(str(path) for path in plugins.files),
            spawned=time.monotonic(),
            spawned_utc=utc_now(),
            command=self._options.command,
            instead_of=job.instead_of,
            unattended=Limits(timeout_s=self._options.timeout_s, max_rss=self._options.max_rss)
            if self._options.detach or slot is None
            else None,
            weights=os.environ.get(WEIGHTS),
            executor=self._options.elsewhere,
        )

    # --- watching ---------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._write_what_is_left()
        if time.monotonic() >= self._follow_at:
            # A look is several questions to a file system that many share.
            self._follow_at = time.monotonic() + LOOK_EVERY_S * max(1, len(self._followed) / 100)
            for followed in list(self._followed):
                self._look_after(followed)
        states = self._executor.status([active.name for active in self._active])
        for active in list(self._active):
            active.attempt.trim_log()
            state = states[active.name]
            heartbeat = active.attempt.heartbeat()
            if heartbeat is not None:
                self._observer.beat(active.job, heartbeat)
            if state.phase == "ended":
                # A process that has ended is asked no more: its last heartbeat may look like a
                # hang.
                self._finish(active, state.exit_status or 0)
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
                self._executor.cancel(active.name, gently=False)
            return
        if active.attempt.is_asked_to_stop():  # by `flowbench cancel`, in whatever terminal
            status, reason = active.attempt.stopped_by()
            self._stop(active, Verdict(status=status, reason=reason, gently=True))
            return
        too_much = active.memory.look(partial(self._executor.held_bytes, active.name))
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
        with contextlib.suppress(OSError):  # without the word it is stopped all the same
            active.attempt.ask_to_stop(verdict.status, verdict.reason)
        active.kill_at = time.monotonic() + (KILL_AFTER_S if verdict.gently else 0.0)
        self._executor.cancel(active.name, gently=True)

    def _follow(
        self,
        job: Job,
        attempt: AttemptDir,
        placement: Placement,
        state: JobState | None,
        waited: bool,
    ) -> None:
        """Follows a job that a queue has; one that cannot be asked of is left to itself."""
        try:
            executor = self._placed.executor(placement)
        except FlowbenchError as exc:
            self._leave_to(job, f"{placement}, which cannot be asked here: {exc}", waited)
            return
        self._decided_for(job, Decision(action="wait", why=f"in the queue as {placement}"))
        self._followed.append(_Followed(job, attempt, placement, executor))
        self._observer.placed(job, placement, state)

    def _look_after(self, followed: _Followed) -> None:
        """Tells how a job stands that a queue has, and ends it where somebody asks for that."""
        # It may have been begun again, as another attempt; or somebody has removed its folder.
        *_, attempt = [followed.attempt, *self._results.attempts(followed.job.row.job_id)]
        followed.attempt = attempt
        attempt.trim_log()
        state = followed.executor.status([followed.placement.job]).get(followed.placement.job)
        heartbeat, now = attempt.heartbeat(), time.monotonic()
        gone = state is not None and state.phase == "ended"
        if is_over(attempt) or (gone and attempt.ended):
            self._close_off(followed)
            return
        if heartbeat is None or attempt.ended:
            self._observer.placed(followed.job, followed.placement, state)
        else:
            if followed.begun != attempt.number:
                followed.begun = attempt.number
                self._observer.started(followed.job, attempt, attempt.order().num_threads)
            self._observer.beat(followed.job, heartbeat)
        if gone:
            followed.end_at = min(followed.end_at, now + SETTLE_S)
            if now >= followed.end_at:
                self._close_off(followed)
        elif attempt.is_asked_to_stop():
            # One that has begun sees that itself, and saves its state.
            followed.end_at = min(followed.end_at, now + (KILL_AFTER_S if heartbeat else 0.0))
            if now >= followed.end_at:
                with contextlib.suppress(ExecutorError):  # it has ended just now, or is asked again
                    followed.executor.cancel(followed.placement.job, gently=False)
        else:
            followed.end_at = math.inf  # it was between two starts

    def _close_off(self, followed: _Followed) -> None:
        self._followed.remove(followed)
        attempt, job = followed.attempt, followed.job
        try:
            record = attempt.record()
        except StoreError as exc:
            record = _bare_record(job.row, attempt.number, "crashed", str(exc))
        if record is None:
            seen = self._placed.how_it_ended(followed.placement)
            record = obituary(job.row, attempt, *_end_of(attempt, seen))
            self._unwritten.append((attempt, record))
            self._write_what_is_left()
        self._ended(job, attempt, record)

    def _finish(self, active: _Active, exit_status: int) -> None:
        record = self._record_of(active, exit_status)
        self._active.remove(active)
        self._free.append(active.slot)
        # The lowest first, so that jobs that never overlap run on the same cores or GPU.
        self._free.sort(key=lambda slot: slot.index)
        with contextlib.suppress(OSError):  # the folder is gone, and was told of
            active.claim.release()
        self._ended(active.job, active.attempt, record)

    def _ended(self, job: Job, attempt: AttemptDir, record: AttemptRow) -> None:
        """Takes up the record of an attempt that has ended."""
        if record.status == "ok":
            self._remove_checkpoints(job.row.job_id)
        if attempt.ended:
            self._ingest(attempt)
        for line in record.provenance.get("damage", ()):
            self._observer.warn(f"{job.label}: {line}")
        self._observer.ended(job, record)
        self._note(job, record, attempt)

    def _remove_checkpoints(self, job_id: str) -> None:
        """Of no use any more, and several times as large as the weights."""
        for attempt in self._results.attempts(job_id):
            for name in CHECKPOINTS:
                with contextlib.suppress(OSError):
                    (attempt.path / name).unlink(missing_ok=True)

    def _record_of(self, active: _Active, exit_status: int) -> AttemptRow:
        """The record of an attempt that has ended; every one leaves one, if need be by its parent.

        One that cannot be read stays as it is, and is a failure to this run.
        """
        try:
            record = active.attempt.record()
        except StoreError as exc:
            return _bare_record(active.job.row, active.attempt.number, "crashed", str(exc))
        if record is None:
            record = self._obituary(active, exit_status)
            self._unwritten.append((active.attempt, record))
            self._write_what_is_left()
        return record

    def _write_what_is_left(self, *, last: bool = False) -> None:
        """Writes records that could not be written before, e.g. since the disk was full."""
        for attempt, record in list(self._unwritten):
            try:
                attempt.write_record(record)
            except OSError as exc:
                # What happened to a folder that is gone, or for good, is at least told.
                if last or not attempt.path.exists():
                    self._unwritten.remove((attempt, record))
                    why = text_of(exc)
                    self._observer.warn(f"{record.attempt_id}: its record is not kept: {why}")
            else:
                self._unwritten.remove((attempt, record))
                self._ingest(attempt)

    def _obituary(self, active: _Active, exit_status: int) -> AttemptRow:
        """The record of a worker that died without writing one."""
        heartbeat, measured = active.attempt.heartbeat(), active.attempt.measured()
        last_heard = f", last heard of while {heartbeat.doing}" if heartbeat else ""
        if measured is not None:  # a heartbeat may be a second old
            last_heard = f" while measuring {measured.at}"
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
        record = obituary(active.job.row, active.attempt, status, reason)
        load = None if peak is None else {"peak_resident_bytes": float(peak)}
        return record.model_copy(update={"load": load})

    def _obey(self) -> None:
        """Starts nothing more, and asks workers to save their state; or ends them at once.

        A worker that is past saving holds up an interrupt: a second one does not wait for it.
        """
        self._obeyed = self._interrupts
        self._waiting.clear()
        self._elsewhere.clear()
        self._followed.clear()  # a queue keeps what it has
        if self._options.detach:
            for active in self._active:
                active.claim.leave()
            self._active.clear()
            return
        asked = Verdict(status="preempted", reason="the run was interrupted", gently=True)
        twice = Verdict(status="killed", reason="the run was interrupted twice", gently=False)
        if self._obeyed == 1 and self._active:
            self._observer.stopping(len(self._active))
        for active in self._active:
            if self._obeyed > 1:
                active.verdict = twice
                self._executor.cancel(active.name, gently=False)
            elif active.kill_at is None:
                self._stop(active, asked)

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


def bury(results: ResultsDir, job: JobRow, placed: Placed | None = None) -> None:
    """Records attempts whose process is gone without a word, e.g. after a power cut.

    Args:
        job: A job that nobody else is at work on.
        placed: Asks how those ended that a queue had.
    """
    for attempt in results.attempts(job.job_id):
        if not attempt.ended:
            end_left_over(attempt.path)
            placement = attempt.placement()
            seen = placed.how_it_ended(placement) if placed and placement else WITHOUT_A_RECORD
            attempt.write_record(obituary(job, attempt, *_end_of(attempt, seen)))


def _end_of(attempt: AttemptDir, seen: str) -> tuple[AttemptStatus, str]:
    """How an attempt ended of which nobody saw the end but what is left of it."""
    if not attempt.is_asked_to_stop():
        return "killed", seen
    status, reason = attempt.stopped_by()
    if attempt.placement() and attempt.heartbeat() is None:  # taken from a queue: nothing began
        return status, reason
    # It was to save its state, which is not known to have come to an end.
    return ("killed", f"{reason}; {seen}") if status == "preempted" else (status, reason)


def obituary(job: JobRow, attempt: AttemptDir, status: AttemptStatus, reason: str) -> AttemptRow:
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


def _bare_record(job: JobRow, number: int, status: AttemptStatus, reason: str) -> AttemptRow:
    return AttemptRow(
        attempt_id=f"{job.job_id}-{number}",
        number=number,
        job=job,
        status=status,
        reason=reason,
        started=utc_now(),
        ended=utc_now(),
    )
