"""Workers on this machine: a process group for each job."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

from flowbench.api.executors import (
    Executor,
    ExecutorSettings,
    JobState,
    Lifeline,
    Slot,
    Submission,
)
from flowbench.code_hash import core_sha256
from flowbench.errors import ConfigError, ExecutorError
from flowbench.provenance import available_cores, processor_name
from flowbench.runner.executors.base import LOG, Handle
from flowbench.runner.executors.forks import ForkServer
from flowbench.runner.executors.left_over import TAG
from flowbench.runner.executors.process_group import ProcessGroup
from flowbench.runner.executors.start import worker_command, worker_environment

DEFAULT_CPU_JOBS = 2


def local_executor(settings: ExecutorSettings) -> LocalExecutor:
    """The executor of this machine.

    Raises:
        ConfigError: It was given options, or this machine has fewer devices than a job is to have.
    """
    from flowbench.training.device import Device, visible_gpus  # imports torch

    if settings.options:
        given = ", ".join(sorted(settings.options))
        raise ConfigError(f"the executor local takes no options, but was given {given}")
    kind = Device.select(settings.device, processor_name()).kind
    gpus = visible_gpus() if kind == "cuda" else ()
    there = {"cpu": settings.num_devices, "cuda": len(gpus), "mps": 1}[kind]
    if settings.num_devices > there:
        raise ConfigError(
            f"--devices-per-job is {settings.num_devices}, but this machine has {there} of {kind}; "
            "take fewer, or --device cpu for processes that share its cores"
        )
    return LocalExecutor(
        kind, gpus, settings.num_jobs, spawn=settings.spawn, num_devices=settings.num_devices
    )


class LocalExecutor(Executor):
    """A queue over GPU slots, or over shares of the CPU's cores.

    Args:
        device_kind: ``cpu``, ``cuda`` or ``mps``.
        gpus: Ids of the GPUs, as CUDA_VISIBLE_DEVICES takes them.
        num_jobs: Jobs at a time; by default one for each GPU, or two on a CPU.
        spawn: Start a new Python for each worker. Without it only those of a GPU begin so: on a
            CPU, under Linux, they are forked from a process that has done their imports.
        num_devices: Devices of each job; on a CPU processes that share its cores.
    """

    def __init__(
        self,
        device_kind: str,
        gpus: tuple[str, ...] = (),
        num_jobs: int | None = None,
        *,
        spawn: bool = False,
        num_devices: int = 1,
    ) -> None:
        self._forks = device_kind == "cpu" and sys.platform == "linux" and not spawn
        self._servers: dict[int, ForkServer] = {}
        self._handles: dict[str, Handle] = {}
        cores = available_cores()
        if device_kind == "cuda":
            sets = [
                ",".join(gpus[i : i + num_devices])
                for i in range(0, len(gpus) - num_devices + 1, num_devices)
            ]
            self.slots = _gpu_slots(sets, num_jobs or len(sets), len(cores))
        elif device_kind == "cpu":
            at_once = max(1, min(DEFAULT_CPU_JOBS, len(cores) // num_devices))
            self.slots = _cpu_slots(cores, num_jobs or at_once)
        else:
            self.slots = (Slot(index=0, num_threads=len(cores)),)

    def submit(self, submissions: Sequence[Submission]) -> Sequence[str]:
        """Starts workers; see `Executor.submit`.

        Raises:
            ExecutorError: A submission has no slot.
        """
        return [self._start(submission) for submission in submissions]

    def _start(self, submission: Submission) -> str:
        folder, slot, lifeline = submission.folder, submission.slot, submission.lifeline
        if slot is None or lifeline is None:
            raise ExecutorError(f"{folder} was given to this machine without a slot of it")
        self._handles[str(folder)] = self.launch(folder, slot, lifeline)
        return str(folder)

    def status(self, ids: Collection[str]) -> Mapping[str, JobState]:
        """Whether workers run; see `Executor.status`."""
        found = {}
        for job in ids:
            status = self._handles[job].poll()
            phase: Literal["running", "ended"] = "running" if status is None else "ended"
            found[job] = JobState(phase=phase, exit_status=status)
        return found

    def cancel(self, job: str, *, gently: bool) -> None:
        """Stops a worker with all that it started."""
        handle = self._handles[job]
        if gently:
            handle.terminate()
        else:
            handle.kill()

    def log(self, job: str) -> str:
        """Nothing: all that a worker prints is in its attempt's log."""
        del job
        return ""

    def held_bytes(self, job: str) -> int | None:
        """Memory that a worker and all that it started hold; None where that cannot be told."""
        return self._handles[job].held_bytes()

    def launch(self, folder: Path, slot: Slot, lifeline: Lifeline) -> Handle:
        """Starts a worker in a process group of its own, whose output is appended to `LOG`.

        Args:
            lifeline: What it inherits; the numbers of the files are its further arguments.
            folder: Folder of the attempt, in which its work order is written.
            slot: A slot of this executor that is free.
        """
        environment = worker_environment(slot.num_threads) | slot.environment
        inherited = [n for n in (lifeline.lock, lifeline.alive) if n is not None]
        with (folder / LOG).open("ab") as log:
            if self._forks:
                return self._server(slot, environment, log).fork(folder, log, inherited)
            process = subprocess.Popen(
                worker_command(folder, inherited),
                env={**environment, TAG: str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A group of its own: Ctrl-C in the terminal reaches the parent alone, which asks
                # workers to save.
                start_new_session=True,
                pass_fds=inherited,
            )
        return ProcessGroup(process)

    def close(self) -> None:
        """Ends the processes that fork workers; workers go on."""
        while self._servers:
            self._servers.popitem()[1].close()

    def _server(self, slot: Slot, environment: dict[str, str], log: BinaryIO) -> ForkServer:
        """What forks the workers of a slot: with its cores and environment, as theirs would be."""
        server, core = self._servers.get(slot.index), core_sha256()
        # Code that was edited since would not be that which the record of a worker names.
        if server is None or not server.serves(environment, core, slot.cores):
            if server is not None:
                server.close()
            server = ForkServer(environment, core, slot.cores, log)
            self._servers[slot.index] = server
        return server


def _cpu_slots(cores: tuple[int, ...], num_jobs: int) -> tuple[Slot, ...]:
    """Equal shares of the cores; what does not divide evenly stays idle, so that jobs are equal."""
    threads = max(1, len(cores) // num_jobs)
    shares = [cores[i * threads : (i + 1) * threads] for i in range(num_jobs)]
    return tuple(
        Slot(index=i, num_threads=threads, cores=share or None) for i, share in enumerate(shares)
    )


def _gpu_slots(sets: Sequence[str], num_jobs: int, num_cores: int) -> tuple[Slot, ...]:
    threads = max(1, num_cores // num_jobs)
    return tuple(
        Slot(
            index=i,
            num_threads=threads,
            # More jobs than GPUs, or sets of them, share them in turn.
            environment={"CUDA_VISIBLE_DEVICES": sets[i % len(sets)]},
        )
        for i in range(num_jobs)
    )
