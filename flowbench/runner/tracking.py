"""Tells trackers what the observer of a run is told."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pluggy

from flowbench.api import trackers
from flowbench.api.executors import JobState
from flowbench.api.hooks import PROJECT
from flowbench.api.trackers import JobOutcome, TrackedJob, TrackerSettings, Validation
from flowbench.errors import PluginLoadError, reason_of
from flowbench.registry import Registry
from flowbench.registry.entry_points import PLUGIN_ERRORS
from flowbench.runner.attempt import AttemptDir, Heartbeat, Placement
from flowbench.runner.observer import RunObserver
from flowbench.runner.plan import Job
from flowbench.store.attempt_files import CURVES, read_curves
from flowbench.store.records import AttemptRow, CurvePoint


def make_trackers(
    registry: Registry, names: Sequence[str], results: Path
) -> dict[str, pluggy.PluginManager]:
    """Makes the trackers of a run.

    Args:
        names: Which, by their names.

    Returns:
        By name what its hooks are called through.

    Raises:
        UnknownNameError: There is no tracker of a name.
        PluginLoadError: One does not load, or has a hook that there is not.
    """
    made = {}
    for name in names:
        entry = registry.tracker(name)
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(trackers)
        try:
            tracker = entry.resolve(entry.spec.tracker)(TrackerSettings(results=results))
            manager.register(tracker)
            manager.check_pending()
        except PluginLoadError:
            raise
        except PLUGIN_ERRORS as exc:  # a border: whatever a plugin raises
            raise PluginLoadError(f"tracker {name!r} does not load: {reason_of(exc)}") from exc
        if not manager.get_hookcallers(tracker):
            raise PluginLoadError(f"tracker {name!r} has none of the hooks (is @hookimpl missing?)")
        made[name] = manager
    return made


@contextlib.contextmanager
def tracked(
    observer: RunObserver, managers: dict[str, pluggy.PluginManager], jobs: Sequence[Job]
) -> Iterator[RunObserver]:
    """An observer that tells trackers too, from the run's start to its end.

    Args:
        observer: Who is told of everything.
        managers: What `make_trackers` gave.
        jobs: Those that the run is to do.

    Yields:
        The observer itself where there is no tracker.
    """
    if not managers:
        yield observer
        return
    tracking = _Tracking(observer, managers)
    tracking.tell("run_started", jobs=[_tracked(job) for job in jobs])
    try:
        yield tracking
    finally:
        tracking.tell("run_ended")
        tracking.close()


class _Tracking:
    """A `RunObserver`.

    Trackers are called in a thread of their own: one that waits for a network, or imports for a
    second, holds up neither jobs nor the run that looks after them.

    Args:
        inner: Who is told first.
        managers: Trackers by name.
    """

    def __init__(self, inner: RunObserver, managers: dict[str, pluggy.PluginManager]) -> None:
        self._inner = inner
        self._attempts: dict[str, AttemptDir] = {}
        self._seen: dict[str, tuple[int, int]] = {}  # when curves were written, and points told
        self._events: queue.SimpleQueue[tuple[str, Mapping[str, object]] | None]
        self._events = queue.SimpleQueue()
        self._failures: queue.SimpleQueue[str] = queue.SimpleQueue()
        # A daemon: whoever interrupts the wait for a tracker that hangs gets the terminal back.
        self._thread = threading.Thread(
            target=self._call, args=(dict(managers),), name="trackers", daemon=True
        )
        self._thread.start()

    def tell(self, event: str, **said: object) -> None:
        """Has one hook of each tracker called, after those of earlier events."""
        self._events.put((event, said))
        self._warn()

    def close(self) -> None:
        """Waits until trackers have heard everything."""
        self._events.put(None)
        self._thread.join()
        self._warn()

    def _call(self, managers: dict[str, pluggy.PluginManager]) -> None:
        """Calls hooks; a tracker that fails is not called again."""
        for event, said in iter(self._events.get, None):
            for name, manager in list(managers.items()):
                try:
                    getattr(manager.hook, event)(**said)
                except PLUGIN_ERRORS as exc:  # a border: a tracker must not end a run
                    del managers[name]
                    self._failures.put(
                        f"tracker {name} failed at {event} and is left out: {reason_of(exc)}"
                    )

    def _warn(self) -> None:
        """Says which trackers have failed, in the thread that owns the terminal."""
        while not self._failures.empty():
            self._inner.warn(self._failures.get())

    def added(self, job: Job) -> None:
        self._inner.added(job)

    def placed(self, job: Job, placement: Placement, state: JobState | None) -> None:
        self._inner.placed(job, placement, state)

    def started(self, job: Job, attempt: AttemptDir, num_threads: int) -> None:
        self._inner.started(job, attempt, num_threads)
        self._attempts[job.row.job_id] = attempt
        self._seen[job.row.job_id] = (0, 0)
        self.tell("job_started", job=_tracked(job, attempt))

    def beat(self, job: Job, heartbeat: Heartbeat) -> None:
        self._inner.beat(job, heartbeat)
        self._look(job)
        self._warn()

    def ended(self, job: Job, record: AttemptRow) -> None:
        self._inner.ended(job, record)
        self._look(job)
        values = {
            name: row.value
            for name, row in record.values_by_name().items()
            if row.value is not None
        }
        outcome = JobOutcome(
            status=record.status,
            reason=record.reason,
            steps=record.steps,
            charged_s=record.charged_s,
            values=values,
        )
        attempt = self._attempts.pop(job.row.job_id, None)
        self.tell("job_ended", job=_tracked(job, attempt), outcome=outcome)

    def stopping(self, num_jobs: int) -> None:
        self._inner.stopping(num_jobs)

    def warn(self, message: str) -> None:
        self._inner.warn(message)

    def _look(self, job: Job) -> None:
        """Tells the looks at validation since the last time."""
        attempt = self._attempts.get(job.row.job_id)
        if attempt is None:
            return
        file = attempt.path / CURVES
        before, told = self._seen[job.row.job_id]
        curve: tuple[CurvePoint, ...] = ()
        with contextlib.suppress(OSError, ValueError):  # none yet, or damaged: its record says so
            written = file.stat().st_mtime_ns
            if written != before:
                curve = read_curves(file)
                self._seen[job.row.job_id] = (written, max(told, len(curve)))
        for point in curve[told:]:
            self.tell("validated", job=_tracked(job, attempt), validation=_validation(point))


def _tracked(job: Job, attempt: AttemptDir | None = None) -> TrackedJob:
    row = job.row
    return TrackedJob(
        job_id=row.job_id,
        label=job.label,
        model=row.model,
        preset=row.preset,
        dataset=row.dataset,
        seed=row.seed,
        budget=row.budget,
        config=row.config,
        attempt=0 if attempt is None else attempt.number,
        folder=None if attempt is None else attempt.path,
    )


def _validation(point: CurvePoint) -> Validation:
    scores = {name: getattr(point, name) for name in ("bpd", "bpd_ema", "nll", "nll_ema")}
    values = {f"validation/{name}": value for name, value in scores.items() if value is not None}
    if point.loss is not None:
        values["training/loss"] = point.loss
    values |= {f"info/{name}": value for name, value in (point.info or {}).items()}
    return Validation(
        step=point.step,
        examples=point.examples,
        charged_s=point.charged_s,
        progress=point.progress,
        values=values,
    )
