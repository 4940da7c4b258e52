"""Every device-specific call: selection, events, synchronise, memory figures, numerics.

CUDA, MPS and the CPU answer to one small interface, so that the rest of the code has no branch on
the device and the CUDA path can be tested with a fake backend.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from flowbench.api.training import Precision
from flowbench.errors import SuiteError, text_of

Kind = Literal["cpu", "cuda", "mps"]
ModuleT = TypeVar("ModuleT", bound=nn.Module)
# Enough that the device never runs out of work, few enough that a budget is overshot by little.
STEPS_AHEAD = 2


class Device:
    """One device that a job runs on.

    Args:
        name: Its model, e.g. ``NVIDIA H100``; decides what may be compared under a time budget.
        backend: `torch.cuda` or `torch.mps`, or a fake of them; None on a CPU.
    """

    def __init__(self, kind: Kind, name: str, backend: Any | None) -> None:
        self.kind = kind
        self.name = name
        self.torch_device = torch.device(kind)
        self._backend = backend

    @classmethod
    def select(cls, requested: str, cpu_name: str) -> Device:
        """Chooses the device of this process.

        Args:
            requested: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            cpu_name: Model name of the processor.

        Raises:
            SuiteError: It is not there.
        """
        found = available_kinds()
        kind = found[0] if requested == "auto" else requested
        if kind not in found:
            raise SuiteError(
                f"device {requested!r} is not available here; this machine has: {', '.join(found)}"
            )
        if kind == "cuda":
            return cls("cuda", torch.cuda.get_device_name(), torch.cuda)
        if kind == "mps":
            return cls("mps", f"{cpu_name} (MPS)", torch.mps)
        return cls("cpu", cpu_name, None)

    def place(self, model: ModuleT, *, channels_last: bool) -> ModuleT:
        """Moves a model here.

        Args:
            channels_last: Lay out the weights of 2-D convolutions so; what they return then has
                the same layout. Models that are faster with it on a CPU have it already.
        """
        model = model.to(self.torch_device)
        return model.to(memory_format=torch.channels_last) if channels_last else model

    def synchronize(self) -> None:
        """Waits until all queued work is done."""
        if self._backend is not None:
            self._backend.synchronize()

    def fence(self) -> Any | None:
        """Marks the end of the work queued so far.

        Returns:
            An event with a ``synchronize`` method; None on a CPU, where work is never queued.
        """
        if self._backend is None:
            return None
        if self.kind == "mps":
            # torch.mps keeps its class of events one module deeper.
            event = self._backend.event.Event()
        else:
            event = self._backend.Event()
        event.record()
        return event

    def reset_peak_memory(self) -> None:
        """Starts a new measurement of peak memory, where the device counts it."""
        if self.kind == "cuda" and self._backend is not None:
            self._backend.reset_peak_memory_stats()

    def peak_memory(self) -> tuple[int | None, str]:
        """Most memory that was held.

        Returns:
            Bytes, and what they count: the device's allocator, or on a CPU the whole process.
        """
        if self.kind == "cuda" and self._backend is not None:
            return int(self._backend.max_memory_allocated()), "device allocator, training"
        if self.kind == "mps":
            # Its current use is no peak, and a made-up number is worse than none.
            return None, "MPS keeps no peak"
        return int(memory_peaks()["peak_resident_bytes"]), "resident set of the whole process"

    def room(self) -> int | None:
        """How many bytes of examples may live on the device.

        Returns:
            Half of the memory that is free there now: the other half is for the steps. None where
            it is the host's own, which other jobs need too and where memory maps are shared.
        """
        if self.kind == "cuda" and self._backend is not None:
            return int(self._backend.mem_get_info()[0]) // 2
        return None

    def driver(self) -> str | None:
        """The driver's version, for the record.

        Returns:
            The version that the NVIDIA tools report; None on other devices, or without the tools.
        """
        if self.kind != "cuda":
            return None
        # torch does not know the driver's version, only that of the runtime that it was built for.
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            done = subprocess.run(
                command, capture_output=True, encoding="utf-8", check=True, timeout=20
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.split("\n")[0].strip() or None

    def generator(self, seed: int) -> torch.Generator:
        """A seeded source of noise on this device."""
        return torch.Generator(self.torch_device).manual_seed(seed)

    def autocast(self, precision: Precision) -> AbstractContextManager[Any]:
        """The context of a forward pass in training.

        Args:
            precision: ``bfloat16`` casts where torch holds it safe.
        """
        if precision != "bfloat16":
            return nullcontext()
        # No gradient scaling: bfloat16 has the range of float32.
        return torch.autocast(self.kind, dtype=torch.bfloat16)

    @contextmanager
    def numerics(self, precision: Precision) -> Iterator[None]:
        """Allows TF32 in a block only where it was asked for; likelihoods never do.

        Outside such blocks torch's own defaults hold, which run cuDNN in TF32.

        Args:
            precision: ``tf32`` allows it.
        """
        kernels: tuple[Any, ...] = (
            torch.backends.cuda.matmul,
            torch.backends.cudnn.conv,  # type: ignore[attr-defined]
            torch.backends.cudnn.rnn,
        )
        # Restored, not reset: whoever uses `flowbench.load` may have chosen otherwise for
        # themselves.
        before = [kernel.fp32_precision for kernel in kernels]
        for kernel in kernels:
            kernel.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        try:
            yield
        finally:
            for kernel, setting in zip(kernels, before, strict=True):
                kernel.fp32_precision = setting


class InFlight:
    """Lets the host run at most `STEPS_AHEAD` steps ahead of the device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._fences: deque[Any] = deque()

    def step_queued(self) -> None:
        """Marks a step's end, and waits for the step before the last if it still runs."""
        fence = self._device.fence()
        if fence is None:
            return
        self._fences.append(fence)
        # The oldest alone: to wait for the newest would drain the queue.
        while len(self._fences) > STEPS_AHEAD:
            self._fences.popleft().synchronize()


class DelayedFlag:
    """Reads a device scalar a step or two late, so that no read waits for the device.

    Args:
        device: The device that the scalars live on.
    """

    def __init__(self, device: Device) -> None:
        # So many steps later `InFlight` has waited for the fence of a scalar's own step.
        self._delay = 0 if device.kind == "cpu" else STEPS_AHEAD
        self._pin = device.kind == "cuda"
        self._pending: deque[Tensor] = deque()

    def push(self, value: Tensor) -> None:
        """Queues a scalar's copy to the host: before the fence of its step, which tells of it.

        Args:
            value: The scalar, shape ().
        """
        if self._pin:
            # Into page-locked memory, since a copy to other memory waits for the device after all.
            host = torch.empty_like(value, device="cpu", pin_memory=True)
            value = host.copy_(value, non_blocking=True)
        self._pending.append(value.detach())

    def arrived(self) -> float | None:
        """The oldest scalar that has surely arrived, once a step; None in the first steps."""
        return float(self._pending.popleft()) if len(self._pending) > self._delay else None


def available_kinds() -> list[Kind]:
    """The kinds of device that this process can use, the fastest first."""
    kinds: list[Kind] = []
    if torch.cuda.is_available():
        kinds.append("cuda")
    if torch.backends.mps.is_available():
        kinds.append("mps")
    return [*kinds, "cpu"]


# What allocators say that have no exception of their own: torch's on a CPU, on Linux and Windows;
# libraries of CUDA; MPS; C++.
_NO_MEMORY = re.compile(
    r"can't allocate memory|not enough memory: you tried to allocate|out of memory|ALLOC_FAILED"
    r"|std::bad_alloc",
    re.I,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the device or on the host.

    Returns:
        True for torch's own out-of-memory error, Python's, what allocators say, what the system
        says when a process cannot be started, and errors that one of these is the cause of.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_out_of_memory, error.exceptions))
    if isinstance(error, RuntimeError) and _NO_MEMORY.search(text_of(error, 2000)):
        return True
    return error.__cause__ is not None and is_out_of_memory(error.__cause__)


def memory_peaks() -> dict[str, float]:
    """The most memory that this process held: in all, and of a GPU since training began."""
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage: bytes on macOS, KiB on Linux
    peaks: dict[str, float] = {}
    peaks["peak_resident_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if torch.cuda.is_initialized():
        peaks["peak_device_bytes"] = torch.cuda.max_memory_reserved()
        peaks["device_bytes"] = torch.cuda.get_device_properties().total_memory
    return peaks


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that jobs may be given, as CUDA_VISIBLE_DEVICES names them.

    Returns:
        Ids or indices; the user's own CUDA_VISIBLE_DEVICES is honoured.
    """
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    # Names and not numbers: a cluster gives UUIDs, and parts of a GPU have names of their own.
    given = tuple(name for name in named if name)
    return given or tuple(str(index) for index in range(torch.cuda.device_count()))
