"""Workers in the slots of this machine, which are their run's.

It holds their jobs, stops what overruns, and they end with it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from flowbench.api.executors import Executor, Lifeline, Slot, Submission
from flowbench.budget import Budget, size_text
from flowbench.runner.attempt import AttemptDir, Heartbeat, WorkOrder
from flowbench.runner.executors.memory import MemoryWatch
from flowbench.runner.executors.process_group import how_it_ended
from flowbench.runner.obituary import obituary
from flowbench.runner.observer import RunObserver
from flowbench.runner.options import RunOptions
from flowbench.runner.outcomes import Outcomes
from flowbench.runner.ownership import Claim
from flowbench.runner.plan import Job
from flowbench.runner.watchdog import KILL_AFTER_S, Verdict, foresee, judge
from flowbench.store.records import AttemptRow


@dataclass
class _Active:
    """A worker in a slot."""

    job: Job
    attempt: AttemptDir
    order: WorkOrder
    slot: Slot
    claim: Claim
    name: str
    memory: MemoryWatch
    verdict: Verdict | None = None
    kill_at: float | None = None


class Slots:
    """Starts workers in the slots of an executor, and watches them to their end.

    Args:
        ended: Takes the record of each attempt that has ended.

    Attributes:
        free: Slots without a worker, the lowest first.
    """

    def __init__(
        self,
        executor: Executor,
        options: RunOptions,
        observer: RunObserver,
        outcomes: Outcomes,
        ended: Callable[[Job, AttemptDir, AttemptRow], None],
    ) -> None:
        self._executor, self._options, self._observer = executor, options, observer
        self._outcomes, self._ended = outcomes, ended
        self._active: list[_Active] = []
        self._foreseen: list[tuple[str, dict[str, Any], str]] = []
        self._pipe: tuple[int, int] | None = None
        self.free = list(executor.slots)

    def __len__(self) -> int:
        return len(self._active)

    def close(self) -> None:
        """Lets workers see that the run has ended."""
        for end in self._pipe or ():
            os.close(end)
        self._pipe = None

    def launch(self, job: Job, attempt: AttemptDir, order: WorkOrder, taken: Claim) -> None:
        """Starts a worker in the first slot that is free.

        Args:
            order: Written in the attempt's folder.
            taken: The claim to the job, which is given up as the worker ends.
        """
        slot = self.free[0]
        # Workers hold its reading end: they see that this process is gone, however it ended.
        self._pipe = self._pipe or os.pipe()
        lifeline = Lifeline(taken.lock, None if self._options.detach else self._pipe[0])
        submission = Submission(folder=attempt.path, slot=slot, lifeline=lifeline)
        (name,) = self._executor.submit([submission])
        del self.free[0]
        memory = MemoryWatch(self._options.max_rss)
        self._active.append(_Active(job, attempt, order, slot, taken, name, memory))
        self._observer.started(job, attempt, slot.num_threads)

    def watch(self) -> None:
        """Looks after all workers once."""
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

    def save(self) -> None:
        """Asks all workers to save their state and end."""
        asked = Verdict(status="preempted", reason="the run was interrupted", gently=True)
        for active in self._active:
            if active.kill_at is None:
                self._stop(active, asked)

    def kill(self) -> None:
        """Ends all workers at once, those too that save their state."""
        for active in self._active:
            active.verdict = Verdict(
                status="killed", reason="the run was interrupted twice", gently=False
            )
            self._executor.cancel(active.name, gently=False)

    def leave(self) -> None:
        """Leaves all workers at work, without this run."""
        for active in self._active:
            active.claim.leave()
        self._active.clear()

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

    def _finish(self, active: _Active, exit_status: int) -> None:
        record = self._outcomes.of(
            active.job.row, active.attempt, lambda: self._obituary(active, exit_status)
        )
        self._active.remove(active)
        self.free.append(active.slot)
        # The lowest first, so that jobs that never overlap run on the same cores or GPU.
        self.free.sort(key=lambda slot: slot.index)
        with contextlib.suppress(OSError):  # the folder is gone, and was told of
            active.claim.release()
        self._ended(active.job, active.attempt, record)

    def _obituary(self, active: _Active, exit_status: int) -> AttemptRow:
        """The record of a worker that died without writing one."""
        num, who = active.order.num_devices, "the worker"
        if num > 1:
            who = f"rank 0 of {num}, the worker,"
        heartbeat, measured = active.attempt.heartbeat(), active.attempt.measured()
        last_heard = f", last heard of while {heartbeat.doing}" if heartbeat else ""
        if measured is not None:  # a heartbeat may be a second old
            last_heard = f" while measuring {measured.at}"
        if active.verdict is not None:
            status, reason = active.verdict.status, active.verdict.reason
        elif exit_status == -9 and active.memory.ended_by_system():
            status = "oom"
            reason = f"the system ended {who} for want of memory{last_heard}"
        else:
            status, how = how_it_ended(who, exit_status)
            reason = how + (" without a record" if exit_status >= 0 else "") + last_heard
            if exit_status == -9:
                reason += " (did the machine run out of memory?)"
        peak = active.memory.peak
        if status == "oom" and peak is not None:
            reason += f"; at its peak it held {size_text(peak)}"
        record = obituary(active.job.row, active.attempt, status, reason)
        load = None if peak is None else {"peak_resident_bytes": float(peak)}
        return record.model_copy(update={"load": load})


def _limit_s(active: _Active) -> float | None:
    return Budget.parse(active.job.row.budget).time_limit_s(active.order.num_devices)
