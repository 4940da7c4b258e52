"""Workers on this machine: a spawned process group for each job."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from flowbench.provenance import available_cores
from flowbench.runner.executors.base import LOG, Executor, Lifeline, Slot
from flowbench.runner.executors.left_over import TAG
from flowbench.runner.executors.memory import held_bytes

DEFAULT_CPU_JOBS = 2


class LocalExecutor(Executor):
    """A queue over GPU slots, or over shares of the CPU's cores.

    Args:
        device_kind: ``cpu``, ``cuda`` or ``mps``.
        gpus: Ids of the GPUs, as CUDA_VISIBLE_DEVICES takes them.
        num_jobs: Jobs at a time; by default one for each GPU, or two on a CPU.
    """

    def __init__(
        self, device_kind: str, gpus: tuple[str, ...] = (), num_jobs: int | None = None
    ) -> None:
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

    def launch(self, folder: Path, slot: Slot, lifeline: Lifeline) -> _ProcessGroup:
        """Starts a worker in a process group of its own; see `Executor.launch`."""
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(slot.num_threads),
            TAG: str(folder),
            "PYTHONIOENCODING": "utf-8:backslashreplace",  # of the log, whatever the locale
            **slot.environment,
        }
        inherited = [n for n in (lifeline.lock, lifeline.alive) if n is not None]
        # -P: a `statistics.py` in the folder where the user is must not stand in for Python's own.
        worker = [sys.executable, "-P", "-m", "flowbench.runner.worker", str(folder)]
        command = [*worker, *map(str, inherited)]
        with (folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A group of its own: Ctrl-C in the terminal reaches the parent alone, which asks
                # workers to save.
                start_new_session=True,
                pass_fds=inherited,
            )
        return _ProcessGroup(process)


class _ProcessGroup:
    """A worker and all that it started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def poll(self) -> int | None:
        if self._process.returncode is None and _has_ended(self._process.pid):
            self.kill()  # what it started ends with it
        return self._process.poll()

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def held_bytes(self) -> int | None:
        return held_bytes(self._process.pid)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it ended on its own just now
            os.killpg(self._process.pid, number)


def _has_ended(pid: int) -> bool:
    """Whether a child has ended, and nobody else can have its number yet."""
    if not hasattr(os, "waitid"):  # on macOS before Python 3.13
        return False
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, pid, options) is not None


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
