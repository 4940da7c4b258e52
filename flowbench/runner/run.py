"""A whole run: from a suite to decisions and the scheduler that carries them out."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pluggy

from flowbench.api.executors import Executor
from flowbench.budget import Budget
from flowbench.errors import ConfigError, StoreError, SuiteError
from flowbench.provenance import available_cores, processor_name
from flowbench.registry import Registry, load_registry
from flowbench.runner.attempt import AttemptDir, ResultsDir
from flowbench.runner.decide import Decision, Machine, Rerun, decide
from flowbench.runner.executors.memory import machine_memory
from flowbench.runner.half_batch import half_batch
from flowbench.runner.obituary import bury
from flowbench.runner.observer import RunObserver
from flowbench.runner.options import RunOptions
from flowbench.runner.ownership import Claim, Owner, claim, owner_of
from flowbench.runner.placed import IN_QUEUE, Placed
from flowbench.runner.plan import Job, Unprepared, plan_all
from flowbench.runner.queue import clear_queues
from flowbench.runner.schedule import Scheduler
from flowbench.runner.sweeps import Sweeps
from flowbench.runner.tracking import make_trackers, tracked
from flowbench.runner.worker import utc_now
from flowbench.store.reconcile import reconcile
from flowbench.store.records import AttemptRow
from flowbench.suite.schema import Suite
from flowbench.training.device import Device

AT_ONCE_ELSEWHERE = 4  # trials of a sweep in a queue that has no number of its own


@dataclass(frozen=True, kw_only=True)
class RunRequest(RunOptions):
    """What ``flowbench run`` was asked.

    Attributes:
        suites: What to run; a job of several is run once.
        num_jobs: Jobs at a time; None takes the executor's default.
        spawn: Start a new Python for each worker on a CPU, too.
        rerun: What to run anew.
        trackers: Names of whom the run is told to.
    """

    suites: tuple[Suite, ...]
    results: Path
    num_jobs: int | None
    spawn: bool = False
    rerun: Rerun | None
    trackers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReadyRun:
    """Decisions for all jobs, and what carries them out.

    Attributes:
        decisions: Jobs in order, and what to do for each.
        machine: What results of this run are comparable on.
        rerun: What to run anew.
        unprepared: Datasets whose jobs are skipped, since they are not on this machine.
        placed: Asks of jobs that a queue has.
        sweeps: Says which jobs follow others.
        trackers: Whom the run is told to, by name.
        notes: What of the results folder cannot be read, a line each.
    """

    decisions: list[tuple[Job, Decision]]
    results: ResultsDir
    executor: Executor
    options: RunOptions
    machine: Machine
    rerun: Rerun | None
    unprepared: list[Unprepared]
    placed: Placed
    sweeps: Sweeps = field(default_factory=Sweeps)
    trackers: dict[str, pluggy.PluginManager] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def starting(self) -> list[Job]:
        """Jobs that this run is to do, or waits for."""
        return [job for job, d in self.decisions if d.starts or d.action == "wait"]

    def to_come(self) -> int:
        """How many jobs of sweeps follow those that are known, at most."""
        return self.sweeps.to_come

    def scheduler(self, observer: RunObserver) -> Scheduler:
        """The scheduler of this run.

        Returns:
            The scheduler; its ``run`` takes the decisions.
        """
        return Scheduler(
            self.results,
            self.executor,
            self.options,
            observer,
            self.decide,
            self.placed,
            self._follow,
        )

    def _follow(self, job: Job, record: AttemptRow, attempt: AttemptDir | None) -> list[Job]:
        """The jobs that follow one that has ended; what no other follows on is removed."""
        jobs = self.sweeps.follow(job, record, attempt)
        self.sweeps.drop_lost_weights()
        return jobs

    def tracked(self, observer: RunObserver) -> AbstractContextManager[RunObserver]:
        """An observer that tells the run's trackers too, for as long as the block lasts."""
        return tracked(observer, self.trackers, self.starting)

    def decide(self, job: Job, waited: bool = False) -> Decision:
        """What to do for a job, as things stand.

        Args:
            waited: Whether another run had it until now, whose result is as good as one's own.
        """
        rerun = None if waited else self.rerun
        return decide(job, self.results.attempts(job.row.job_id), self.machine, rerun)

    def following(self) -> list[Job]:
        """The jobs of sweeps that can be run by what was decided last, if that is an end."""
        job, decision = self.decisions[-1]
        if decision.starts or decision.source is None:
            return []
        record = decision.source.readable_record()  # the scheduler says of one that is not
        return [] if record is None else self.sweeps.follow(job, record, decision.source)

    def in_place_of(self, job: Job, decision: Decision) -> Iterator[tuple[Job, Decision]]:
        """What stands in the place of a job that ran out of memory before, as far as is known."""
        while self.options.half_batch and decision.action == "leave" and decision.source:
            record = decision.source.record()
            if record is None or record.status != "oom":
                return
            try:
                job = half_batch(job, decision.source, record)
            except ConfigError:  # the run will say so
                return
            decision = self.decide(job)
            yield job, decision


def get_ready(request: RunRequest, registry: Registry, *, dry_run: bool = False) -> ReadyRun:
    """Checks everything that can be checked before any job starts.

    Args:
        dry_run: Change nothing on disk.

    Returns:
        The run, ready to be scheduled.

    Raises:
        SuiteError: The suites have nothing to run on their datasets, or a sweep cannot be had.
        DataMissingError: Its only dataset is not prepared.
    """
    results = ResultsDir(request.results)
    placed = Placed(registry, results)
    executor = placed.make(
        request.executor,
        options=request.executor_options,
        num_jobs=request.num_jobs,
        device=request.device,
        spawn=request.spawn,
        num_devices=request.num_devices,
    )
    # In the parent as well: a device that is not here is told before any worker starts. Elsewhere
    # the plan may run: a cluster's is made on a laptop.
    device = Device.select(request.device, processor_name()) if executor.slots else None
    if not dry_run and device is not None:
        for suite in request.suites:
            _check_budget(suite.budget, device)
    jobs, unprepared, swept = plan_all(request.suites, registry, request.data_dir)
    if not jobs and not unprepared and not swept:
        datasets = sorted({name for suite in request.suites for name in suite.datasets})
        raise SuiteError(
            f"suite {request.suites[0].name!r} has nothing to run on "
            f"{', '.join(datasets) or 'any dataset'}: none of its rows has a model "
            "there; choose with --models and --datasets"
        )
    # Its own message, which says how to prepare it, where that is all that stands in the way.
    if not jobs and not swept and len(unprepared) == 1 and not dry_run:
        raise unprepared[0].error
    if not dry_run:
        results.ensure_writable()
        clear_queues(results.runs)
    at_once = len(executor.slots) or request.num_jobs or AT_ONCE_ELSEWHERE
    ready = ReadyRun(
        decisions=[],
        results=results,
        executor=executor,
        options=request,
        machine=_machine(device, executor, request),
        rerun=request.rerun,
        unprepared=unprepared,
        placed=placed,
        # Before anything starts: one that is not installed is told at once.
        trackers={} if dry_run else make_trackers(registry, request.trackers, request.results),
        sweeps=Sweeps(swept, at_once, results),
    )
    waiting = deque([*jobs, *ready.sweeps.ask()])
    while waiting:
        job = waiting.popleft()
        owner = _who_has(job, results, placed)
        if owner is None and not dry_run:
            owner = _record_the_dead(job, results, placed)
        decision = Decision(action="wait", why=owner) if owner else ready.decide(job)
        ready.decisions.extend([(job, decision), *ready.in_place_of(job, decision)])
        waiting.extend(ready.following())
    # Where nothing starts, the table at the end is all that reads the database.
    if not dry_run and any(decision.starts for _, decision in ready.decisions):
        try:
            reconcile(results.path, report=ready.notes.append)
        except StoreError as exc:  # it is a cache: its state must not keep anybody from working
            ready.notes.append(f"{exc}; until then it does not show what this run does")
    num_starting = sum(decision.starts for _, decision in ready.decisions)
    return replace(ready, options=_settled(request, device, executor, num_starting))


def _machine(device: Device | None, executor: Executor, options: RunOptions) -> Machine:
    """What results are comparable on: this machine, or whatever a queue gives for the same."""
    if device is None:
        return Machine(
            device_kind=options.device,
            device_name="",
            num_threads=0,
            num_devices=options.num_devices,
            executor=options.elsewhere,
        )
    threads = executor.slots[0].num_threads
    return Machine(
        device_kind=device.kind,
        device_name=device.name,
        num_threads=threads,
        num_devices=options.num_devices,
    )


def _who_has(job: Job, results: ResultsDir, placed: Placed) -> str | None:
    """The queue that has a job, or another run that is at work on it."""
    if (found := placed.of_job(job.row.job_id)) is not None:
        return f"{IN_QUEUE} {found[1]}"
    if all(attempt.ended for attempt in results.attempts(job.row.job_id)):
        return None
    owner = owner_of(results.runs / job.row.job_id)
    return None if owner is None else str(owner)


def _record_the_dead(job: Job, results: ResultsDir, placed: Placed) -> str | None:
    """Records attempts whose process is gone, so that every reader knows of them.

    Returns:
        The run that is at work on the job after all; None without one.
    """
    if all(attempt.ended for attempt in results.attempts(job.row.job_id)):
        return None
    # A folder that cannot be written is the trouble of its job, once that is to start.
    with contextlib.suppress(OSError):
        taken = claim(results.runs / job.row.job_id, Owner.of_this_process(started=utc_now()))
        if not isinstance(taken, Claim):
            return None if taken is None else str(taken)
        try:
            bury(results, job.row, placed)
        finally:
            taken.release()
    return None


def run_again(
    job: Job,
    decision: Decision,
    options: RunOptions,
    results: Path,
    *,
    num_threads: int | None,
) -> Callable[[RunObserver], Scheduler]:
    """A run of one job by a decision that stands, whatever other runs do meanwhile.

    Args:
        num_threads: CPU threads that the job had; None takes all.

    Returns:
        Makes the scheduler, given who is to be told.
    """
    device = Device.select(options.device, processor_name())
    _check_budget(job.row.budget, device)
    # As many jobs at a time as leave each that many threads: sums depend on how they are split.
    num_jobs = max(1, len(available_cores()) // num_threads) if num_threads else 1
    folder = ResultsDir(results)
    placed = Placed(load_registry(options.plugins), folder)
    executor = placed.make(
        "local", num_jobs=num_jobs, device=options.device, num_devices=options.num_devices
    )
    folder.ensure_writable()
    settled = _settled(options, device, executor, 1)
    return lambda observer: Scheduler(
        folder, executor, settled, observer, lambda *_: decision, placed
    )


def _settled(
    options: RunOptions, device: Device | None, executor: Executor, num_jobs: int
) -> RunOptions:
    """The options with what this machine makes of them."""
    if device is None:
        return options
    at_once = max(1, min(num_jobs, len(executor.slots)))
    share = machine_memory() // at_once
    return replace(options, device=device.kind, max_rss=options.max_rss or share)


def _check_budget(text: str, device: Device) -> None:
    if Budget.parse(text).gpu_hours is not None and device.kind == "cpu":
        raise SuiteError(f"budget {text!r} counts GPU-hours, but jobs run on a CPU; use e.g. 60s")
