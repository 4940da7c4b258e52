"""The attempt directory ``results/runs/<job_id>/<number>/``, where parent and worker talk.

Every file is written under a temporary name and renamed, so that a reader sees all of it or none.

=====================  ========  ===================================================================
``job.json``           parent    what to do (`WorkOrder`)
``placed.json``        parent    which executor has it, where that outlives the run (`Placement`)
``code.json``          either    hashes of its code: as planned, then as the worker finds it
``plugins/``           worker    plugin files that it loaded, as they were
``heartbeat.json``     worker    what it is doing (`Heartbeat`)
``stop``               any       why it is being stopped: the status to record, and the reason
``curves.jsonl``       worker    validation during training
``checkpoint.pt``      worker    resumable training state; removed once the job is ok
``checkpoint.1.pt``    worker    the one before, should the last be damaged
``model.pt``           worker    trained weights, and what training spent; of a sweep's trials, the
                                 best alone keeps them
``likelihoods.npz``    worker    log-likelihood of each test example, in nats
``samples.npz``        worker    samples on the raw scale
``artifacts/``         worker    samples as people look at or listen to them
``measured.json``      worker    what was measured so far (`Measured`); gone with the record
``log.txt``            worker    everything that it printed
``record.json``        either    the attempt's row, last of all
=====================  ========  ===================================================================
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from flowbench.api.frozen import Frozen
from flowbench.code_hash import CodeHashes
from flowbench.errors import StoreError
from flowbench.files import write_whole
from flowbench.runner.executors.base import LOG
from flowbench.store.attempt_files import RECORD, is_number, read_record, write_record
from flowbench.store.records import (
    AttemptRow,
    AttemptStatus,
    JobRow,
    MeasurementRow,
    Trial,
    Tuning,
)

PLACED = "placed.json"
PLUGINS = "plugins"
HEARTBEAT, ORDER, STOP, CODE = "heartbeat.json", "job.json", "stop", "code.json"
CHECKPOINT, MODEL, SAMPLES = "checkpoint.pt", "model.pt", "samples.npz"
CHECKPOINTS = (CHECKPOINT, "checkpoint.1.pt")  # the last, and the one before in case it is damaged
MEASURED = "measured.json"
LOG_TAIL_BYTES = 4000
SILENCE_S = 120.0  # without a heartbeat; imports on a cold disk take tens of seconds
MAX_LOG_BYTES = 16 * 2**20
KEPT_LOG_BYTES = 2**20  # at each end, of a log that is larger
ModelT = TypeVar("ModelT", bound=BaseModel)

Phase = Literal[
    "preparing",  # imports, data, building the model
    "training",
    "looking",  # at the validation split
    "paused",  # while another job of this machine measures latency
    "evaluating",  # the likelihood of the test split
    "sampling",
    "waiting",  # for room on the disk
    "measuring",  # a metric, apart from the likelihoods and samples that it asks for
]


class Limits(Frozen):
    """What a worker holds itself to.

    Attributes:
        timeout_s: Seconds that it may spend outside its budget.
        max_rss: Bytes of memory that it may hold, with all that it started; None for any.
    """

    timeout_s: float
    max_rss: int | None


class TrialOrder(Frozen):
    """What makes a job a trial of a sweep: it is trained, and not measured on test data.

    Attributes:
        sweep: Id of the sweep.
        number: Which of its trials.
        bounds: Pairs of a part of the budget and the validation value that is to be reached by
            then; beyond it the trial is given up.
        num_rivals: Trials whose median the bounds are.
    """

    sweep: str
    number: int
    bounds: tuple[tuple[float, float], ...] = ()
    num_rivals: int = 0

    @classmethod
    def of(cls, trial: Trial) -> TrialOrder:
        """The order to do a trial again, to its end."""
        return cls(sweep=trial.sweep, number=trial.number)


class WorkOrder(Frozen):
    """What a worker is to do.

    Attributes:
        ladder: Whether samples are measured along the model's sampling ladder too.
        resume: Attempt directory to go on from.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        cores: Cores to stay on; None leaves it to the system.
        plugins_only: Plugins to load, None for all.
        spawned: Monotonic time at which the worker was started.
        spawned_utc: The same as a date.
        command: The command line that asked for the job.
        instead_of: The attempt that ran out of memory, in whose place this one stands.
        unattended: What it holds itself to, since it outlives its run; None where that watches it.
        num_threads: CPU threads; 0 for all that its process may use, where that is not known yet.
        weights: Where metrics find weights of their own: a folder or a file.
        executor: Where it runs, and what was asked for there, in words; None for the run's machine.
        num_devices: Devices of the job, each with a process of its own, which share its threads.
        trial: Which trial of a sweep it is; None of all else.
        tuning: What it took to find the job's configuration.
        start_of: Number of the attempt that an executor was given, of which this one is a further
            start; None in that one itself.
    """

    job: JobRow
    number: int
    metrics: tuple[str, ...]
    ladder: bool = False
    resume: str | None = None
    device: str
    num_threads: int
    cores: tuple[int, ...] | None = None
    data_dir: str
    plugins_only: tuple[str, ...] | None = None
    plugins_excluded: tuple[str, ...] = ()
    plugin_files: tuple[str, ...] = ()
    spawned: float
    spawned_utc: str
    command: tuple[str, ...] = ()
    instead_of: str | None = None
    unattended: Limits | None = None
    weights: str | None = None
    executor: str | None = None
    num_devices: int = 1
    trial: TrialOrder | None = None
    tuning: Tuning | None = None
    start_of: int | None = None

    @property
    def record_of_tuning(self) -> dict[str, Any]:
        """What a record says of sweeps, as columns of `AttemptRow`."""
        if self.trial is None:
            return {"tuning": self.tuning}
        return {"trial": Trial(sweep=self.trial.sweep, number=self.trial.number)}

    @property
    def threads_a_device(self) -> int:
        """CPU threads of each of its processes."""
        return max(1, self.num_threads // self.num_devices)


class Placement(Frozen):
    """Which executor has an attempt, so that any run can ask it.

    Attributes:
        executor: Its name.
        options: What it was asked for.
        job: What it calls the job.
    """

    executor: str
    options: Mapping[str, str]
    job: str

    def __str__(self) -> str:
        return f"{self.executor} job {self.job}"


class Heartbeat(BaseModel):
    """What a worker is doing.

    Attributes:
        waited_s: Seconds that it waited for other jobs that measured alone.
        part: Part of the clock that runs.
        detail: The metric or file at hand.
        done: Part of the phase that is done; None where that is not known.
        left_s: Seconds until the phase ends; None where that is not known.
        evaluation_s: Seconds that the likelihood of the test split will take after training; None
            where that is not known, and once it is over.
        evaluation_draws: Noise draws for each example of it.
        progress: Part of the budget used.
        steps_per_s: Recent step rate; None before training.
        score: Latest validation score.
        score_unit: ``bpd``, of text ``bpc``, or ``nats``.
        whole_batch: Why batches go through the model whole; None where they need not, or before it
            is built.
        beat: Monotonic time of this heartbeat.
    """

    model_config = ConfigDict(frozen=True)

    pid: int
    part: str = "start"
    phase: Phase = "preparing"
    detail: str = ""
    done: float | None = None
    left_s: float | None = None
    evaluation_s: float | None = None
    evaluation_draws: int = 1
    charged_s: float = 0.0
    waited_s: float = 0.0
    progress: float = 0.0
    step: int = 0
    steps_per_s: float | None = None
    score: float | None = None
    score_unit: str = "bpd"
    whole_batch: str | None = None
    beat: float = 0.0

    @property
    def doing(self) -> str:
        """Phase and detail, in words."""
        return f"{self.phase} {self.detail}".rstrip()


class Measured(Frozen):
    """What a worker has measured before a metric, which may be the last thing that it does.

    Attributes:
        at: Name of that metric.
        rows: The values so far.
    """

    at: str
    rows: tuple[MeasurementRow, ...]

    def with_the_last_failed(self) -> tuple[MeasurementRow, ...]:
        """The values, with that of the metric at which the worker died."""
        shown: dict[str, Any] = {
            "metric": self.at,
            "name": self.at,
            "unit": "",
            "direction": "none",
        }
        reason = "the worker died while it was measured"
        return (*self.rows, MeasurementRow(value=None, status="failed", reason=reason, **shown))


class AttemptDir:
    """One attempt's directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def number(self) -> int:
        """Number of the attempt."""
        return int(self.path.name)

    def write(self, name: str, data: bytes | str) -> None:
        """Writes a file whole."""
        write_whole(self.path / name, data)

    def order(self) -> WorkOrder:
        """Reads what is to be done."""
        return WorkOrder.model_validate_json((self.path / ORDER).read_bytes())

    def heartbeat(self) -> Heartbeat | None:
        """Reads the latest heartbeat.

        Returns:
            The heartbeat; None before the first.
        """
        return self._read(HEARTBEAT, Heartbeat)

    def placement(self) -> Placement | None:
        """Reads which executor has it; None for one that has none but its run."""
        return self._read(PLACED, Placement)

    def code(self) -> CodeHashes | None:
        """Reads which code it runs.

        Returns:
            The hashes; None in an attempt made before they were kept.
        """
        return self._read(CODE, CodeHashes)

    def measured(self) -> Measured | None:
        """Reads what was measured before the metric at hand; None before the first."""
        return self._read(MEASURED, Measured)

    def write_code(self, code: CodeHashes) -> None:
        """Says which code it runs, so that this is known even of an attempt without a record."""
        self.write(CODE, code.model_dump_json())

    def keep_plugin_files(self, files: Iterable[str]) -> None:
        """Keeps the source of plugin files, which people edit and delete.

        Args:
            files: Their paths; those of one name must be one file.
        """
        for file in map(Path, files):
            (self.path / PLUGINS).mkdir(exist_ok=True)
            self.write(f"{PLUGINS}/{file.name}", file.read_bytes())

    def plugin_files(self) -> tuple[Path, ...]:
        """The plugin files that it loaded: where they were if they are as then, else those kept."""

        def found(name: str) -> Path:
            there, kept = Path(name), self.path / PLUGINS / Path(name).name
            try:
                same = not kept.exists() or there.read_bytes() == kept.read_bytes()
            except OSError:
                same = False
            return there if same else kept

        return tuple(map(found, self.order().plugin_files))

    @property
    def ended(self) -> bool:
        """Whether there is a record, whatever it says."""
        return (self.path / RECORD).exists()

    def record(self) -> AttemptRow | None:
        """Reads the attempt's row.

        Returns:
            The row; None while there is none.

        Raises:
            StoreError: There is one that cannot be read.
        """
        return read_record(self.path / RECORD) if self.ended else None

    def readable_record(self) -> AttemptRow | None:
        """The attempt's row; None where there is none that can be read."""
        try:
            return self.record()
        except StoreError:
            return None

    def write_record(self, record: AttemptRow) -> None:
        """Writes the attempt's row, which ends the attempt."""
        write_record(self.path / RECORD, record)
        with contextlib.suppress(OSError):  # it tells nothing more
            (self.path / MEASURED).unlink(missing_ok=True)

    def ask_to_stop(self, status: AttemptStatus, reason: str) -> None:
        """Leaves word that the worker is to stop: its parent sees it too, on whatever host."""
        self.write(STOP, f"{status} {reason}")

    def is_asked_to_stop(self) -> bool:
        """Whether somebody left word that the worker is to stop."""
        return (self.path / STOP).exists()

    def stopped_by(self) -> tuple[AttemptStatus, str]:
        """Why the worker was asked to stop: the status to record, and the reason.

        A signal alone, as a cluster sends it, leaves no word.
        """
        try:
            status, _, reason = (self.path / STOP).read_text(encoding="utf-8").partition(" ")
        except (OSError, UnicodeDecodeError):
            status, reason = "", ""
        known: tuple[AttemptStatus, ...] = ("timeout", "oom", "killed")
        reason = reason or "asked to stop"
        return next(((name, reason) for name in known if name == status), ("preempted", reason))

    def log_tail(self) -> str:
        """The end of the worker's log."""
        try:
            with (self.path / LOG).open("rb") as file:
                file.seek(0, os.SEEK_END)
                # From the end: a plugin that prints in a loop leaves gigabytes.
                file.seek(max(0, file.tell() - LOG_TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
                return text.replace("\0", "\N{REPLACEMENT CHARACTER}")  # the database holds no NUL
        except OSError:
            return ""

    def trim_log(self) -> None:
        """Cuts the middle out of a log that grows without end; its worker goes on to append."""
        path = self.path / LOG
        with contextlib.suppress(OSError):  # it is not there yet, or the disk is full
            if path.stat().st_size <= MAX_LOG_BYTES:
                return
            with path.open("r+b") as file:
                file.seek(-KEPT_LOG_BYTES, os.SEEK_END)
                tail = file.read()
                file.truncate(KEPT_LOG_BYTES)
            with path.open("ab") as file:  # as the worker has it: at the end, wherever that is now
                file.write(b"\n[the middle of this log was left out: it was too large]\n" + tail)

    def _read(self, name: str, kind: type[ModelT]) -> ModelT | None:
        """What a file holds; None while it is not there, or if it is damaged."""
        try:
            return kind.model_validate_json((self.path / name).read_bytes())
        except (OSError, ValidationError):
            return None


class ResultsDir:
    """A results folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = path / "runs"

    def ensure_writable(self) -> None:
        """Makes the folder, and checks that it can be written.

        Raises:
            StoreError: It cannot.
        """
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            # By trying: access rights alone know nothing of quotas or read-only file systems.
            probe = self.runs / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as exc:
            raise StoreError(
                f"cannot write to the results folder {str(self.path)!r} ({exc.strerror}); "
                "choose another with --results DIR"
            ) from exc

    def attempts(self, job_id: str) -> list[AttemptDir]:
        """All attempts at a job.

        Returns:
            Their directories, oldest first.
        """
        folder = self.runs / job_id
        if Path(job_id).name != job_id:  # an id is a name, never a path
            return []
        # Numbered folders alone: editors and file managers leave files of their own.
        there = folder.iterdir() if folder.is_dir() else ()
        numbered = [p for p in there if is_number(p.name) and p.is_dir()]
        return [AttemptDir(path) for path in sorted(numbered, key=lambda p: int(p.name))]

    def new_attempt(self, job_id: str) -> AttemptDir:
        """Makes the directory of a job's next attempt; two processes never get the same."""
        folder = self.runs / job_id
        folder.mkdir(parents=True, exist_ok=True)
        number = max((a.number for a in self.attempts(job_id)), default=0) + 1
        # `mkdir` either makes the folder or says that it exists: two processes cannot both have
        # made it.
        while True:
            try:
                (folder / str(number)).mkdir()
            except FileExistsError:
                number += 1
            else:
                return AttemptDir(folder / str(number))


def canonical_json(value: Any) -> str:
    """JSON that is equal for equal content, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
