"""Workers on this machine: a process group for each job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

from flowbench.code_hash import core_sha256
from flowbench.provenance import available_cores
from flowbench.runner.executors.base import LOG, Executor, Handle, Lifeline, Slot
from flowbench.runner.executors.forks import ForkServer
from flowbench.runner.executors.left_over import TAG
from flowbench.runner.executors.process_group import ProcessGroup

DEFAULT_CPU_JOBS = 2


class LocalExecutor(Executor):
    """A queue over GPU slots, or over shares of the CPU's cores.

    Args:
        device_kind: ``cpu``, ``cuda`` or ``mps``.
        gpus: Ids of the GPUs, as CUDA_VISIBLE_DEVICES takes them.
        num_jobs: Jobs at a time; by default one for each GPU, or two on a CPU.
        spawn: Start a new Python for each worker. Without it only those of a GPU begin so: on a
            CPU, under Linux, they are forked from a process that has done their imports.
    """

    def __init__(
        self,
        device_kind: str,
        gpus: tuple[str, ...] = (),
        num_jobs: int | None = None,
        *,
        spawn: bool = False,
    ) -> None:
        self._forks = device_kind == "cpu" and sys.platform == "linux" and not spawn
        self._servers: dict[int, ForkServer] = {}
        cores = available_cores()
        if device_kind == "cuda":
            self._slots = _gpu_slots(gpus, num_jobs or len(gpus), len(cores))
        elif device_kind == "cpu":
            self._slots = _cpu_slots(cores, num_jobs or min(DEFAULT_CPU_JOBS, len(cores)))
        else:
            self._slots = (Slot(index=0, num_threads=len(cores)),)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Room for jobs that run at the same time."""
        return self._slots

    def launch(self, folder: Path, slot: Slot, lifeline: Lifeline) -> Handle:
        """Starts a worker in a process group of its own; see `Executor.launch`."""
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(slot.num_threads),
            "PYTHONIOENCODING": "utf-8:backslashreplace",  # of the log, whatever the locale
            **slot.environment,
        }
        inherited = [n for n in (lifeline.lock, lifeline.alive) if n is not None]
        with (folder / LOG).open("ab") as log:
            if self._forks:
                return self._server(slot, environment, log).fork(folder, log, inherited)
            # -P: a `statistics.py` in the folder where the user is must not stand in for Python's.
            worker = [sys.executable, "-P", "-m", "flowbench.runner.worker", str(folder)]
            process = subprocess.Popen(
                [*worker, *map(str, inherited)],
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
        if server is None or not server.serves(environment, core):
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


def _gpu_slots(gpus: tuple[str, ...], num_jobs: int, num_cores: int) -> tuple[Slot, ...]:
    threads = max(1, num_cores // num_jobs)
    return tuple(
        Slot(
            index=i,
            num_threads=threads,
            # More jobs than GPUs share them in turn.
            environment={"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]},
        )
        for i in range(num_jobs)
    )
