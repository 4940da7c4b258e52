from __future__ import annotations

import errno
from typing import Any, Literal

import pytest
import torch
from torch import nn

from flowbench.errors import SuiteError
from flowbench.training.device import (
    DelayedFlag,
    Device,
    InFlight,
    available_kinds,
    is_out_of_memory,
    visible_gpus,
)


def caused(error: Exception, cause: Exception) -> Exception:
    """An error that another is the cause of."""
    error.__cause__ = cause
    return error


class FakeCuda:
    """Records in which order events are recorded and waited for."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.recorded = 0

    def Event(self) -> Any:
        backend = self

        class Event:
            def record(self) -> None:
                backend.recorded += 1
                self.number = backend.recorded
                backend.calls.append(f"record {self.number}")

            def synchronize(self) -> None:
                backend.calls.append(f"wait {self.number}")

        return Event()

    def synchronize(self) -> None:
        self.calls.append("synchronize")

    def reset_peak_memory_stats(self) -> None:
        self.calls.append("reset")

    def max_memory_allocated(self) -> int:
        return 123

    def mem_get_info(self) -> tuple[int, int]:
        return 1000, 5000


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device("cuda", "a fake GPU", FakeCuda())


def test_at_most_two_steps_are_in_flight(cuda: Device) -> None:
    in_flight = InFlight(cuda)
    for _ in range(4):
        in_flight.step_queued()
    assert cuda._backend is not None
    assert cuda._backend.calls == [
        "record 1",
        "record 2",
        "record 3",
        "wait 1",
        "record 4",
        "wait 2",
    ]


def test_a_cpu_has_nothing_in_flight() -> None:
    cpu = Device("cpu", "a CPU", None)
    InFlight(cpu).step_queued()
    cpu.synchronize()
    assert cpu.fence() is None


def test_peak_memory_says_what_it_counts(cuda: Device) -> None:
    cuda.reset_peak_memory()
    assert cuda.peak_memory() == (123, "device allocator, training")
    size, source = Device("cpu", "a CPU", None).peak_memory()
    assert size is not None
    assert size > 10**6
    assert "process" in source


def test_a_flag_is_read_late_on_a_device_and_at_once_on_a_cpu() -> None:
    mps = DelayedFlag(Device("mps", "fake", FakeCuda()))
    cpu = DelayedFlag(Device("cpu", "fake", None))
    values = [torch.tensor(float(i)) for i in range(4)]

    def read(flag: DelayedFlag, value: torch.Tensor) -> float | None:
        flag.push(value)
        return flag.arrived()

    assert [read(mps, v) for v in values] == [None, None, 0.0, 1.0]
    assert [read(cpu, v) for v in values] == [0.0, 1.0, 2.0, 3.0]


def test_a_flag_is_read_after_the_fence_behind_its_copy(cuda: Device) -> None:
    backend = cuda._backend
    assert backend is not None
    # Of another kind: a copy for CUDA needs page-locked memory.
    in_flight, flag = InFlight(cuda), DelayedFlag(Device("mps", "fake", backend))
    for step in range(1, 6):
        backend.calls.append(f"copy {step}")  # what is pushed is queued now
        flag.push(torch.tensor(float(step)))
        in_flight.step_queued()
        read = flag.arrived()
        if read is not None:
            done = backend.calls.index(f"record {int(read)}")
            assert backend.calls.index(f"copy {int(read)}") < done
            assert f"wait {int(read)}" in backend.calls
    assert read == 3.0


def test_data_may_take_half_of_what_is_free_on_a_gpu(cuda: Device) -> None:
    assert cuda.room() == 500
    assert Device("cpu", "a CPU", None).room() is None


def test_auto_takes_the_fastest() -> None:
    assert Device.select("auto", "a CPU").kind == available_kinds()[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_missing_device_is_one_clear_line() -> None:
    with pytest.raises(SuiteError, match="device 'cuda' is not available here; this machine has"):
        Device.select("cuda", "a CPU")


def test_tf32_only_where_asked_for() -> None:
    device = Device("cpu", "a CPU", None)
    cudnn: Any = torch.backends.cudnn
    before = torch.backends.cuda.matmul.fp32_precision
    with device.numerics("float32"):
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        assert cudnn.conv.fp32_precision == "ieee"
        assert cudnn.rnn.fp32_precision == "ieee"
    with device.numerics("tf32"):
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    assert torch.backends.cuda.matmul.fp32_precision == before


def test_bfloat16_casts_the_forward_pass_only_on_request() -> None:
    device, x = Device("cpu", "a CPU", None), torch.ones(2, 2)
    with device.autocast("bfloat16"):
        assert (x @ x).dtype == torch.bfloat16
    with device.autocast("float32"):
        assert (x @ x).dtype == torch.float32


def test_visible_gpus_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-abc")
    assert visible_gpus() == ("2", "GPU-abc")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] . can't allocate memory"), True),
        (RuntimeError("not enough memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"), True),
        (RuntimeError("std::bad_alloc"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (ExceptionGroup("two", [ValueError("x"), MemoryError()]), True),
        (caused(ValueError("a library's own"), MemoryError()), True),
        (RuntimeError("shapes differ"), False),
        (OSError(errno.ENOENT, "no such file"), False),
        (ValueError("out of memory of what was said"), False),
    ],
)
def test_out_of_memory(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


@pytest.mark.parametrize("kind", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_layout_changes_values_by_rounding_alone(kind: Literal["cpu", "cuda"]) -> None:
    device = Device(kind, "one", torch.cuda if kind == "cuda" else None)
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    found = []
    for channels_last in (False, True):
        torch.manual_seed(0)
        first = nn.Conv2d(3, 16, 3)
        net = nn.Sequential(first, nn.ReLU(), nn.Conv2d(16, 4, 3), nn.Flatten(), nn.Linear(64, 2))
        net = device.place(net, channels_last=channels_last)
        with device.numerics("float32"):
            y = net(x.to(device.torch_device))
            y.square().sum().backward()
        layout = torch.channels_last if channels_last else torch.contiguous_format
        assert first.weight.is_contiguous(memory_format=layout)
        found.append([y, *(p.grad for p in net.parameters())])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)
