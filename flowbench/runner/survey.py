"""What is under way in a results folder, told by its files alone.

Nothing is written and no process is asked but that of a queue which outlives runs, so that any
terminal can look, on any host that shares the folder, whoever runs the jobs.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from flowbench.api.executors import JobState
from flowbench.errors import StoreError
from flowbench.runner.attempt import (
    HEARTBEAT,
    ORDER,
    PLACED,
    SILENCE_S,
    AttemptDir,
    Heartbeat,
    Placement,
    WorkOrder,
)
from flowbench.runner.executors.base import LOG
from flowbench.runner.ownership import Owner, owner_of
from flowbench.runner.placed import INTERRUPTED, Placed
from flowbench.runner.queue import Waiting, waiting_jobs
from flowbench.store.attempt_files import RECORD, is_number
from flowbench.store.job_ids import whole_job_id

DAY_S = 24 * 3600.0
FOLLOW_EVERY_S = 0.5
SILENT_S = 15.0  # without a heartbeat, of which there is one a second


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """An attempt that has no record yet.

    Attributes:
        heartbeat: The latest; None before the first.
        silent_s: Seconds since the last sign of life.
        owner: The run that has it; None where that is not known.
        placement: The executor whose queue has it, and will begin it again if it was interrupted;
            None of one that is in no queue.
        state: Where it stands there; None where that cannot be learnt.
    """

    attempt: AttemptDir
    order: WorkOrder
    heartbeat: Heartbeat | None
    silent_s: float
    owner: Owner | None
    placement: Placement | None = None
    state: JobState | None = None

    @property
    def job_id(self) -> str:
        """Id of its job."""
        return self.order.job.job_id

    @property
    def attempt_id(self) -> str:
        """Id that its record will have."""
        return f"{self.job_id}-{self.order.number}"

    @property
    def is_gone(self) -> bool:
        """Whether its process has surely ended; the next run on the folder records it."""
        if self.placement is not None and not self.attempt.is_asked_to_stop():
            return self.state is not None and self.state.phase == "ended"
        return self.silent_s > (SILENT_S if self.owner is None else SILENCE_S)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a look at a results folder found.

    Attributes:
        waiting: Jobs that wait in the queue of a run.
        ended: How many attempts ended in the last 24 hours, by status.
    """

    under_way: tuple[UnderWay, ...]
    waiting: tuple[Waiting, ...]
    ended: Counter[str]


def survey(results: Path, placed: Placed | None = None) -> Survey:
    """Looks at all attempts of a results folder.

    Args:
        placed: Asks of those that a queue has; without it they count by their files alone.

    Returns:
        Those without a record, in the order in which they began, and how the latest others ended.

    Raises:
        StoreError: There is no such folder.
    """
    if not results.is_dir():
        raise StoreError(f"no results folder {results}; name one with --results")
    now, ended = time.time(), Counter[str]()
    open_attempts = []
    for attempt in _attempts(results):
        try:
            # A record is replaced by none, so its age is when the attempt ended.
            if now - (attempt / RECORD).stat().st_mtime < DAY_S:
                status = _status(attempt / RECORD)
                if status in INTERRUPTED and placed and _is_queued(attempt, placed):
                    open_attempts.append(attempt)  # it will be begun again
                else:
                    ended[status] += 1
        except FileNotFoundError:
            open_attempts.append(attempt)
        except OSError:
            continue
    signs = {attempt: sign for attempt in open_attempts if (sign := _last_sign(attempt))}
    # The clock of another host, which wrote what is newest, may be ahead of this one's.
    now = max([now, *signs.values()])
    found = (_under_way(attempt, now - sign, placed) for attempt, sign in signs.items())
    under_way = sorted((one for one in found if one), key=lambda one: one.order.spawned_utc)
    waiting = tuple(waiting_jobs(results / "runs", SILENT_S))
    return Survey(under_way=tuple(under_way), waiting=waiting, ended=ended)


def cancel(
    results: Path, which: Sequence[str], placed: Placed | None = None
) -> list[UnderWay | Waiting]:
    """Asks the workers of jobs to save their state and stop, and runs not to start those that wait.

    The word is a file, which worker and parent look for: it reaches other hosts, too.

    Args:
        which: Ids of jobs or attempts that are under way or wait, or how they alone begin.
        placed: Takes those that wait there from a queue.

    Returns:
        What was asked.

    Raises:
        StoreError: Nothing of that name is under way, or it cannot be written to.
        FlowbenchError: A queue does not give back what waits in it.
    """
    found = survey(results, placed)
    running = [one for one in found.under_way if not one.is_gone]
    chosen = [one for name in which for one in _called([*running, *found.waiting], name)]
    for one in chosen:
        if isinstance(one, Waiting):
            one.cancel()
            continue
        try:
            one.attempt.ask_to_stop("preempted", "cancelled by flowbench cancel")
        except OSError as exc:
            raise StoreError(f"cannot write to {one.attempt.path}: {exc.strerror}") from exc
        if placed and one.placement and one.state and one.state.phase == "waiting":
            placed.executor(one.placement).cancel(one.placement.job, gently=False)
    return chosen


def find_attempt_dir(results: Path, which: str) -> AttemptDir | None:
    """The directory of an attempt, or of the last one at a job.

    Args:
        which: An attempt id; or a job id, or how it alone begins.

    Returns:
        The directory; None if there is none of that name.
    """
    paths = list(_attempts(results))
    named = {f"{path.parent.name}-{path.name}": path for path in paths}
    if which in named:
        return AttemptDir(named[which])
    jobs = {path.parent.name for path in paths}
    if not any(job.startswith(which) for job in jobs):
        return None
    job_id = whole_job_id(which, jobs)
    return AttemptDir(max((p for p in paths if p.parent.name == job_id), key=lambda p: int(p.name)))


def log_lines(attempt: AttemptDir, *, follow: bool) -> Iterator[str]:
    """The lines of an attempt's log.

    Args:
        follow: Go on as it grows, until the attempt has a record or shows no sign of life.

    Yields:
        The lines; undecodable bytes are replaced.
    """
    path, rest = attempt.path / LOG, b""
    position = 0
    while True:
        # Before the log is read: what is written until the record is there belongs to it.
        over = not follow or attempt.ended or _is_silent(attempt)
        with contextlib.suppress(OSError), path.open("rb") as file:
            # A log that is shorter than before was cut in its middle, and goes on at its end.
            position = min(position, file.seek(0, os.SEEK_END))
            file.seek(position)
            *lines, rest = (rest + file.read()).split(b"\n")
            position = file.tell()
            yield from (line.decode("utf-8", "replace") for line in lines)
        if over:
            break
        time.sleep(FOLLOW_EVERY_S)
    if rest:
        yield rest.decode("utf-8", "replace")


def _is_silent(attempt: AttemptDir) -> bool:
    sign = _last_sign(attempt.path)
    return sign is None or time.time() - sign > SILENCE_S


def _called(there: Sequence[UnderWay | Waiting], which: str) -> list[UnderWay | Waiting]:
    """The attempts and jobs that a name means.

    Raises:
        StoreError: There is none, or it may mean several jobs.
    """
    exact = [one for one in there if isinstance(one, UnderWay) and one.attempt_id == which]
    if exact:
        return [*exact]
    try:
        job_id = whole_job_id(which, (one.job_id for one in there))
    except StoreError as exc:
        # What has ended is known to `results list`, and cannot be cancelled.
        message = str(exc).replace("flowbench results list", "flowbench status")
        raise StoreError(f"not under way: {message}" if not there else message) from exc
    return [one for one in there if one.job_id == job_id]


def _attempts(results: Path) -> Iterator[Path]:
    """All attempt directories, whatever is in them."""
    for job in _folders(results / "runs"):
        yield from (Path(attempt.path) for attempt in _folders(job.path) if is_number(attempt.name))


def _folders(path: str | Path) -> Iterable[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except OSError:  # it was removed just now, or is none
        return []


def _status(record: Path) -> str:
    try:
        status = json.loads(record.read_bytes())["status"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "unreadable"
    return status if isinstance(status, str) else "unreadable"


def _last_sign(attempt: Path) -> float | None:
    """When an attempt last showed a sign of life, by its files' own time."""
    for name in (HEARTBEAT, ORDER):
        try:
            return (attempt / name).stat().st_mtime
        except OSError:
            continue
    return None


def _is_queued(path: Path, placed: Placed) -> bool:
    """Whether a queue has an attempt that was interrupted, to begin it again."""
    if not (path / PLACED).exists():
        return False
    found = placed.of_job(path.parent.name)
    return found is not None and found[0].path == path


def _under_way(path: Path, silent_s: float, placed: Placed | None) -> UnderWay | None:
    attempt = AttemptDir(path)
    try:
        order = attempt.order()
    except (
        OSError,
        ValidationError,
    ):  # it ended just now and was removed, or is of another version
        return None
    placement = attempt.placement() if placed else None
    return UnderWay(
        attempt=attempt,
        order=order,
        heartbeat=None if attempt.ended else attempt.heartbeat(),
        silent_s=max(0.0, silent_s),
        owner=owner_of(path.parent),
        placement=placement,
        state=placed.state(placement) if placed and placement else None,
    )
