"""Jobs -> attempts: gives each to an executor once it is this run's alone, and notes how it ended.

An executor with slots has workers of this run (`slots`), one without a queue that any run can
follow (`followed`).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from flowbench.api.executors import Executor, JobState, Slot
from flowbench.errors import ConfigError, FlowbenchError, StoreError, text_of
from flowbench.paths import WEIGHTS
from flowbench.runner.attempt import (
    CHECKPOINTS,
    ORDER,
    AttemptDir,
    Limits,
    Placement,
    ResultsDir,
    WorkOrder,
)
from flowbench.runner.decide import Decision
from flowbench.runner.followed import Followed, hand_over
from flowbench.runner.half_batch import half_batch
from flowbench.runner.obituary import bare_record, bury
from flowbench.runner.observer import RunObserver
from flowbench.runner.options import RunOptions
from flowbench.runner.outcomes import Outcomes
from flowbench.runner.ownership import Claim, Owner, claim
from flowbench.runner.placed import IN_QUEUE, Placed
from flowbench.runner.plan import Job
from flowbench.runner.queue import Queue
from flowbench.runner.slots import Slots
from flowbench.runner.worker import utc_now
from flowbench.store.records import INFO, RUNG, AttemptRow, AttemptStatus, Tuning

POLL_S = 0.1
LOOK_EVERY_S = 1.0  # for jobs that other runs are at work on
HANDED_AT_ONCE = 500  # as many files are open meanwhile; clusters take arrays of 1,000

Decide = Callable[[Job, bool], Decision]
"""What to do for a job now; and whether it was another run's until now."""
Follow = Callable[[Job, AttemptRow, AttemptDir | None], Sequence[Job]]
"""The jobs that follow one that has ended, by its record and the attempt that it is of."""


class Scheduler:
    """Runs decisions to their records.

    Args:
        decide: Decides for a job once it is this run's alone.
        placed: Asks of jobs that a queue has.
        follow: Says which jobs are to be run after one that has ended.

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
        follow: Follow = lambda *_: (),
    ) -> None:
        self._follow_up = follow
        self._results, self._executor, self._placed = results, executor, placed
        self._options, self._observer, self._decide = options, observer, decide
        self._outcomes = Outcomes(results, observer.warn)
        self._slots = Slots(executor, options, observer, self._outcomes, self._ended)
        self._followed = Followed(results.attempts, placed, observer, self._outcomes, self._ended)
        self._waiting: deque[Job] = deque()
        self._queue = Queue(results.runs)
        self._elsewhere: list[Job] = []
        self._look_at = 0.0
        self._handed: list[tuple[Job, AttemptDir, Claim]] = []
        self._records: dict[str, AttemptRow] = {}
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
        try:
            while self._goes_on():
                self._fill()
                self._outcomes.write_what_is_left()
                self._followed.watch()
                self._slots.watch()
                time.sleep(POLL_S)
                if self._interrupts > self._obeyed:
                    self._obey()
            self._outcomes.write_what_is_left(last=True)
        finally:
            self._executor.close()
            self._slots.close()
            self._queue.close()
        if self._interrupts:
            raise KeyboardInterrupt
        return self._records

    def _goes_on(self) -> bool:
        waits = (self._elsewhere or self._followed) and self._options.wait
        return bool(self._slots or self._waiting or waits)

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
        if not self._interrupts and not self._takes_its_place(job, record, attempt):
            for more in self._follow_up(job, record, attempt):
                self._add(more)

    def _takes_its_place(self, job: Job, record: AttemptRow, attempt: AttemptDir | None) -> bool:
        """Whether another job stands in the place of one that ran out of memory."""
        if attempt is None or record.status != "oom" or not self._options.half_batch:
            return False
        try:
            half = half_batch(job, attempt, record)
        except ConfigError as exc:
            self._observer.warn(str(exc))
            return False
        _, decision = self.decided[job.row.job_id]
        self._decided_for(job, replace(decision, instead=half))
        if half.row.job_id not in self.decided:  # else it was asked for by itself
            self._add(half)
        return True

    def _add(self, job: Job) -> None:
        """Takes up a job that was not there from the beginning."""
        decision = self._decided_for(job, self._decide(job, False))
        if decision.starts:
            self._observer.added(job)
            self._waiting.append(job)
        else:
            self._settle(job, decision)

    def _skipped(self, job: Job, why: str) -> AttemptRow:
        earlier = [r for a in self._results.attempts(job.row.job_id) if (r := a.record())]
        # Said once: each run of the same suite would add a record otherwise.
        if earlier and earlier[-1].status == "skipped" and earlier[-1].reason == why:
            return earlier[-1]
        attempt = self._results.new_attempt(job.row.job_id)
        record = bare_record(job.row, attempt.number, "skipped", why)
        attempt.write_record(record)
        self._outcomes.show(attempt)
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
        return (
            bool(self._slots.free) if self._executor.slots else len(self._handed) < HANDED_AT_ONCE
        )

    def _start(self, job: Job, *, waited: bool) -> None:
        try:
            self._start_if_ours(job, waited)
        except (StoreError, OSError) as exc:
            # The trouble of one job: a folder that is gone, a disk that is full.
            self._do_without(job, "crashed", f"it could not be started: {text_of(exc)}")

    def _do_without(self, job: Job, status: AttemptStatus, reason: str) -> None:
        """Notes a job of which there is no attempt."""
        record = bare_record(job.row, 0, status, reason)
        self._observer.ended(job, record)
        self._note(job, record, None)

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
        slot = self._slots.free[0] if self._executor.slots else None
        order = self._order(job, decision, attempt, slot)
        # Before the worker starts: one that dies while it imports has still said what it ran.
        attempt.write_code(job.code)
        attempt.write(ORDER, order.model_dump_json(indent=1))
        taken.begins(attempt.number)
        if slot is None:
            self._handed.append((job, attempt, taken))
        else:
            self._slots.launch(job, attempt, order, taken)

    def _hand_over(self) -> None:
        handed, self._handed = self._handed, []
        if handed:
            given = [(attempt, taken) for _, attempt, taken in handed]
            placements = hand_over(self._executor, given, self._options)
            for (job, attempt, _), placement in zip(handed, placements, strict=True):
                self._follow(job, attempt, placement, JobState(phase="waiting"), waited=True)

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
            trial=job.trial,
            tuning=self._tuning(job),
            weights=os.environ.get(WEIGHTS),
            executor=self._options.elsewhere,
            num_devices=self._options.num_devices,
        )

    def _tuning(self, job: Job) -> Tuning | None:
        """What it took to find a configuration; a sweep that was told of once is not forgotten."""
        if job.tuning is not None and job.tuning.sweep is not None:
            return job.tuning
        told = (
            r.tuning
            for a in self._results.attempts(job.row.job_id)
            if (r := a.readable_record()) is not None
        )
        swept = [tuning for tuning in told if tuning is not None and tuning.sweep is not None]
        return swept[-1] if swept else job.tuning

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
            self._followed.add(job, attempt, placement, state)
        except FlowbenchError as exc:
            self._leave_to(job, f"{placement}, which cannot be asked here: {exc}", waited)
        else:
            self._decided_for(job, Decision(action="wait", why=f"{IN_QUEUE} {placement}"))

    # --- ending -----------------------------------------------------------------------------------

    def _ended(self, job: Job, attempt: AttemptDir, record: AttemptRow) -> None:
        """Takes up the record of an attempt that has ended."""
        if record.status in ("ok", "pruned"):
            self._remove_checkpoints(job.row.job_id)
        if attempt.ended:
            self._outcomes.show(attempt)
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

    def _obey(self) -> None:
        """Starts nothing more, and asks workers to save their state; or ends them at once.

        A worker that is past saving holds up an interrupt: a second one does not wait for it.
        """
        self._obeyed = self._interrupts
        self._waiting.clear()
        self._elsewhere.clear()
        self._followed.clear()
        if self._options.detach:
            self._slots.leave()
        elif self._obeyed > 1:
            self._slots.kill()
        else:
            if self._slots:
                self._observer.stopping(len(self._slots))
            self._slots.save()
