"""A Ray cluster: a detached actor for each job, which outlives the run that gave it.

An actor holds what its job asked for and starts ``flowbench worker`` in a process of its own. Ray
starts it again on another node when one is lost, and the worker goes on from its checkpoint. A job
of several GPUs has them on one node. What comes of a job is in its attempt's folder; Ray is asked
only whether it still has it.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import math
import os
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowbench.api.executors import Executor, ExecutorSettings, JobState, Submission
from flowbench.errors import ConfigError, ExecutorError
from flowbench.runner.executors.start import PYTHON

NAMESPACE = "flowbench"
ASK_EVERY_S = 2.0
ANSWER_WITHIN_S = 10.0
LOG_BYTES = 4000
# What a job may ask for, as Ray calls it; `address` is where the cluster is.
NUMBERS = ("num_cpus", "num_gpus", "memory")
KNOWN = ("address", "accelerator_type", *NUMBERS)
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class RayExecutor(Executor):
    """Gives jobs to a Ray cluster that runs already.

    Args:
        settings: Options are ``address`` and what Ray knows of a job: ``num_cpus``, ``num_gpus``,
            ``memory`` in bytes, ``accelerator_type``.

    Raises:
        ExecutorError: Ray is not installed, or there is no cluster.
        ConfigError: An option is not known, a number of jobs was asked for, or other devices than
            a job has.
    """

    def __init__(self, settings: ExecutorSettings) -> None:
        options = dict(settings.options)
        if unknown := sorted(options.keys() - set(KNOWN)):
            raise ConfigError(
                f"executor ray: unknown option {', '.join(unknown)}; expected {', '.join(KNOWN)}"
            )
        if settings.num_jobs is not None:
            raise ConfigError(
                "executor ray runs as many jobs at a time as the cluster has room for; leave "
                "--jobs out, and say what one needs, e.g. --on num_gpus=1"
            )
        self._asked_for: dict[str, Any] = {
            key: _number(key, value) if key in NUMBERS else value
            for key, value in options.items()
            if key != "address"
        }
        if settings.num_devices > 1:
            key = "num_cpus" if settings.device == "cpu" else "num_gpus"
            asked = self._asked_for.setdefault(key, settings.num_devices)
            if key == "num_gpus" and asked != settings.num_devices:
                raise ConfigError(
                    f"executor ray: num_gpus={asked:g} is not {settings.num_devices}, as "
                    "--devices-per-job has it, which is asked for if it is left out"
                )
        self._ray = _connected(options.get("address", "auto"))
        self._folder = settings.folder
        self._pings: dict[str, Any] = {}
        self._states: dict[str, JobState] = {}
        self._asked: dict[str, float] = {}

    def submit(self, submissions: Sequence[Submission]) -> Sequence[str]:
        """Makes an actor for each job; see `Executor.submit`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        names = []
        actor = self._ray.remote(RayJob)
        for submission in submissions:
            name = (
                f"{submission.folder.parent.name}-{submission.folder.name}-{uuid.uuid4().hex[:8]}"
            )
            threads = self._asked_for.get("num_cpus")
            actor.options(
                name=name,
                namespace=NAMESPACE,
                lifetime="detached",
                max_restarts=-1,  # flowbench itself tells starts that lead nowhere
                max_concurrency=2,  # it is asked while it waits
                **{"num_cpus": 1, **self._asked_for},
            ).remote(str(submission.folder), str(self._folder / f"{name}.log"), threads)
            names.append(name)
        return names

    def status(self, ids: Collection[str]) -> Mapping[str, JobState]:
        """Where jobs stand, as of a few seconds ago; see `Executor.status`."""
        now = time.monotonic()
        for job in ids:
            if now - self._asked.get(job, -ASK_EVERY_S) >= ASK_EVERY_S:
                self._asked[job] = now
                self._states[job] = self._state(job)
        return {job: self._states[job] for job in ids}

    def cancel(self, job: str, *, gently: bool) -> None:
        """Asks a job to save its state, or ends it; see `Executor.cancel`."""
        actor = self._actor(job)
        if actor is None:
            return
        number = signal.SIGTERM if gently else signal.SIGKILL
        told = actor.signal.remote(int(number))
        done, _ = self._ray.wait([told], timeout=ANSWER_WITHIN_S if self._has_begun(job) else 0.0)
        if not (gently and done):  # it never began, or is to begin no more
            self._ray.kill(actor, no_restart=True)

    def log(self, job: str) -> str:
        """The end of what its starts printed before they had a log of their own."""
        try:
            text = (self._folder / f"{job}.log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return text[-LOG_BYTES:]

    def _actor(self, job: str) -> Any:
        """The actor of a job; None if Ray has it no more."""
        try:
            return self._ray.get_actor(job, namespace=NAMESPACE)
        except ValueError:
            return None

    def _has_begun(self, job: str) -> bool:
        return job in self._states and self._states[job].phase == "running"

    def _state(self, job: str) -> JobState:
        actor = self._actor(job)
        if actor is None:
            return JobState(phase="ended")
        # Answered once the actor has its place, and not while it is started anew.
        ping = self._pings.pop(job, None) or actor.ping.remote()
        done, _ = self._ray.wait([ping], timeout=0.05)
        if not done:
            self._pings[job] = ping
            return JobState(phase="waiting")
        try:
            self._ray.get(ping)
        except self._ray.exceptions.RayError:  # lost: it is started anew, or gone
            return JobState(phase="waiting")
        return JobState(phase="running")


class RayJob:
    """What Ray runs of a job: a start of its worker, which goes on from those before.

    Args:
        folder: The folder of the attempt that was submitted.
        log: File for what is printed before the attempt has its own.
        num_threads: CPU threads; None for as many as there are cores that it may use.
    """

    def __init__(self, folder: str, log: str, num_threads: float | None) -> None:
        ray = _module()
        more = ["--threads", str(max(1, int(num_threads)))] if num_threads else []
        with Path(log).open("ab") as file:
            self._worker = subprocess.Popen(
                [*PYTHON, "flowbench.cli.app", "worker", folder, *more],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # it may end all of its group
                # Once this actor is gone another may be started elsewhere.
                preexec_fn=functools.partial(_save_when_parent_ends, ctypes.CDLL(None)),
            )
        myself = ray.get_runtime_context().current_actor
        threading.Thread(target=self._leave_after, args=(ray, myself), daemon=True).start()

    def ping(self) -> None:
        """Answers, which an actor does once it has its place."""

    def signal(self, number: int) -> None:
        """Sends the worker a signal, and by SIGKILL all that it started."""
        if self._worker.poll() is None:
            if number == signal.SIGKILL:
                os.killpg(self._worker.pid, number)
            else:
                self._worker.send_signal(number)

    def _leave_after(self, ray: Any, myself: Any) -> None:
        """Gives up its place once the worker has ended, however it did: the record tells."""
        self._worker.wait()
        ray.kill(myself, no_restart=True)


def _save_when_parent_ends(libc: ctypes.CDLL) -> None:
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _number(key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < math.inf:
        raise ConfigError(f"executor ray: {key} is {value!r}; expected a number, e.g. {key}=1")
    return number


def _module() -> Any:
    """The module of Ray.

    Raises:
        ExecutorError: It is not installed.
    """
    try:
        import ray
    except ImportError as exc:
        raise ExecutorError("executor ray needs ray; pip install 'flowbench[ray]'") from exc
    return ray


def _knock(address: str) -> None:
    """Looks whether anybody listens there: Ray itself tries for minutes.

    Raises:
        OSError: Nobody does.
        ValueError: It names no port.
    """
    if address != "auto" and "://" not in address:
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=ANSWER_WITHIN_S).close()


def _connected(address: str) -> Any:
    """The module of Ray, connected to a cluster.

    Raises:
        ExecutorError: It is not installed, or there is no cluster.
    """
    ray = _module()
    if not ray.is_initialized():
        try:
            _knock(address)
            ray.init(
                address=address,
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as exc:
            said = str(exc).strip().partition("\n")[0]
            raise ExecutorError(
                f"executor ray: no cluster at address {address!r} ({said}); start one with "
                "`ray start --head`, or name it by --on address=HOST:6379"
            ) from exc
    return ray
