"""A SLURM cluster: one job array for all that is given at once.

submitit writes the batch script, and puts a job that is short of time back into the queue. How jobs
stand is asked of squeue, never of sacct, which not every cluster has; and all that is taken from it
is whether they are in the queue: how one ended is in its attempt's folder.
"""

from __future__ import annotations

import contextlib
import getpass
import io
import math
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from flowbench.api.executors import Executor, ExecutorSettings, JobState, Submission
from flowbench.errors import ConfigError, ExecutorError
from flowbench.runner.executors.process_group import has_ended
from flowbench.runner.executors.start import PYTHON

ASK_EVERY_S = 5.0  # of a daemon that the whole cluster asks
ANSWER_WITHIN_S = 60.0
SAVE_WITHIN_S = 60.0  # of the 90 s before its end at which submitit has SLURM send its signal
LOG_BYTES = 4000
MOST_REQUEUES = 1_000_000  # flowbench itself tells starts that lead nowhere
# What flowbench or submitit set themselves.
OURS = {"array", "error", "job-name", "nodes", "ntasks", "ntasks-per-node", "output", "signal"}
ASK_FOR_GPUS = ("gres", "gpus", "gpus-per-node", "gpus-per-task")
# How a job ends that does not come back; one that is preempted may.
ENDS = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    "TIMEOUT",
}


class SlurmExecutor(Executor):
    """Submits job arrays, and asks squeue.

    Args:
        settings: Options are sbatch's own, without dashes in front, e.g. ``partition``.

    Raises:
        ExecutorError: There is no SLURM here, or no submitit.
        ConfigError: An option is not the user's to set, the time of a job is missing, or other
            devices are asked for than a job has.
    """

    def __init__(self, settings: ExecutorSettings) -> None:
        if shutil.which("sbatch") is None:
            raise ExecutorError(
                "executor slurm: no sbatch on PATH; give the command on a machine that submits to "
                "the cluster, or leave --executor out to run here"
            )
        self._options = {key.replace("_", "-"): v for key, v in settings.options.items()}
        if taken := sorted(OURS & set(self._options)):
            raise ConfigError(f"executor slurm: {', '.join(taken)} cannot be set: flowbench does")
        if "time" not in self._options:
            raise ConfigError(
                "executor slurm: no time was given; expected the limit of a job, e.g. --slurm "
                "time=4:00:00 (one that needs longer saves its state and queues again)"
            )
        if settings.num_devices > 1:
            self._options = _for_devices(self._options, settings.num_devices, settings.device)
        self._num_jobs, self._folder = settings.num_jobs, settings.folder
        self._queue: dict[str, JobState] = {}
        self._asked = self._answered = -math.inf
        self._heard_of: dict[str, float] = {}

    def submit(self, submissions: Sequence[Submission]) -> Sequence[str]:
        """Submits an array; see `Executor.submit`.

        Raises:
            ExecutorError: submitit is not installed, or sbatch refuses the jobs.
        """
        submitit = _submitit()
        executor = submitit.SlurmExecutor(self._folder, max_num_timeout=MOST_REQUEUES)
        cpus = self._options.get("cpus-per-task")
        executor.update_parameters(
            job_name="flowbench",
            stderr_to_stdout=True,
            array_parallelism=self._num_jobs or len(submissions),
            additional_parameters=self._options,
            srun_args=[] if cpus is None else [f"--cpus-per-task={cpus}"],  # not inherited
        )
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                jobs = executor.map_array(StartWorker(), [str(s.folder) for s in submissions])
        except (submitit.core.utils.UncompletedJobError, RuntimeError) as exc:
            raise ExecutorError(
                f"slurm refuses the jobs: {_refusal(f'{said.getvalue()}{exc}')}"
            ) from exc
        for link in self._folder.glob(".submission_file_*"):
            if link.is_symlink():  # to the script by the job's name, which stays
                link.unlink(missing_ok=True)
        return [str(job.job_id) for job in jobs]

    def status(self, ids: Collection[str]) -> Mapping[str, JobState]:
        """Where jobs stand, as of a few seconds ago; see `Executor.status`."""
        now = time.monotonic()
        for job in ids:
            self._heard_of.setdefault(job, now)
        if now - self._asked >= ASK_EVERY_S:
            self._ask()
        # What is not in the queue has left it, unless it came after that was asked.
        return {
            job: self._queue.get(job, JobState(phase="ended"))
            for job in ids
            if job in self._queue or self._heard_of[job] <= self._answered
        }

    def cancel(self, job: str, *, gently: bool) -> None:
        """Asks a job to save its state, or ends it; see `Executor.cancel`.

        Raises:
            ExecutorError: scancel fails.
        """
        done = _run("scancel", *(["--signal=TERM"] if gently else []), job)
        if done.returncode != 0:
            raise ExecutorError(f"slurm does not cancel job {job}: {_refusal(done.stderr)}")

    def log(self, job: str) -> str:
        """The end of the batch script's log."""
        try:
            text = (self._folder / f"{job}_0_log.out").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return text[-LOG_BYTES:]

    def _ask(self) -> None:
        self._asked = time.monotonic()
        states = "all"  # those that have just ended too, which say how
        done = _run("squeue", "-h", "-r", "-t", states, "-u", getpass.getuser(), "-o", "%i|%T|%r")
        if done.returncode != 0:  # the cluster does not answer: what was known stays so
            return
        self._queue = dict(map(_state, filter(None, done.stdout.splitlines())))
        self._answered = self._asked


class StartWorker:
    """What SLURM runs of a job: a start of its worker, which goes on from those before.

    A callable of our own, since submitit requeues no command that is short of time; and it asks the
    worker to save, whichever of its signals a cluster sends.
    """

    _worker: subprocess.Popen[bytes] | None = None

    def __call__(self, folder: str) -> int:
        """Starts the worker of an order, and waits for its end.

        Args:
            folder: The folder of the attempt that was submitted.

        Returns:
            The exit status of the worker.
        """
        # Neither is set for every job: what it asked for, and what it has of the node.
        threads = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE")
        more = ["--threads", threads] if threads else []
        self._worker = subprocess.Popen(
            [*PYTHON, "flowbench.cli.app", "worker", folder, *more],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # it may end all of its group
        )
        signal.signal(signal.SIGTERM, lambda *_: self._ask_to_save())
        while not has_ended(self._worker.pid):  # no wait: a signal could not ask meanwhile
            time.sleep(0.1)
        return self._worker.wait()

    def checkpoint(self, folder: str) -> Any:
        """Has the worker save its state; what submitit calls before it queues the job again.

        Args:
            folder: The folder of the attempt that was submitted.

        Returns:
            What is to run then.
        """
        if self._worker is not None:
            self._ask_to_save()
            until = time.monotonic() + SAVE_WITHIN_S
            while not has_ended(self._worker.pid) and time.monotonic() < until:
                time.sleep(0.1)
        return _submitit().helpers.DelayedSubmission(StartWorker(), folder)

    def _ask_to_save(self) -> None:
        if self._worker is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._worker.pid, signal.SIGTERM)


def _for_devices(options: Mapping[str, str], num: int, device: str) -> dict[str, str]:
    """Options that ask for several devices of a node, for one task.

    Raises:
        ConfigError: They ask for another number of GPUs.
    """
    if device == "cpu":  # a process on each core
        return {"cpus-per-task": str(num), **options}
    asked = [name for name in ASK_FOR_GPUS if name in options]
    for name in asked:
        count = re.fullmatch(r"(?:gpu:)?(?:.*:)?(\d+)", options[name])
        if count is None or int(count[1]) != num:
            raise ConfigError(
                f"executor slurm: {name}={options[name]} is not {num} GPUs, as --devices-per-job "
                f"has it; expected e.g. gres=gpu:{num}, which is asked for if it is left out"
            )
    return {**options} if asked else {**options, "gres": f"gpu:{num}"}


def _submitit() -> Any:
    """The module of submitit.

    Raises:
        ExecutorError: It is not installed.
    """
    try:
        import submitit.helpers
    except ImportError as exc:
        raise ExecutorError(
            "executor slurm needs submitit; pip install 'flowbench[slurm]'"
        ) from exc
    return submitit


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of SLURM; one that does not answer has failed."""
    try:
        return subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=ANSWER_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return subprocess.CompletedProcess(command, 1, "", str(exc))


def _state(line: str) -> tuple[str, JobState]:
    job, state, why = line.split("|", 2)
    if state in ENDS:
        return job, JobState(phase="ended", why=state)
    if state == "PENDING":
        return job, JobState(phase="waiting", why="" if why == "None" else why)
    return job, JobState(phase="running")


def _refusal(text: str) -> str:
    """The lines in which a command of SLURM says what is wrong, as one."""
    lines = [line.partition("error: ")[2] for line in text.splitlines() if "error: " in line]
    return "; ".join(dict.fromkeys(filter(None, lines))) or text.strip().partition("\n")[0]
