"""What workers hold, seen from their parent."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowbench.runner.executors import memory
from flowbench.runner.executors.memory import MemoryWatch, held_bytes, machine_memory

MB = 2**20
HOLD = "import sys; x = bytearray({mb} * 2**20); print(flush=True); sys.stdin.read()"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "{HOLD.format(mb=60)}"], stdin=subprocess.PIPE)
{HOLD.format(mb=40)}
"""


def holding(code: str, lines: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(lines):
        process.stdout.readline()
    return process


@pytest.mark.parametrize("platform", ["linux", "elsewhere"])
def test_what_a_process_and_its_children_hold(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if platform == "linux" and sys.platform != "linux":
        pytest.skip("there is no /proc")
    monkeypatch.setattr(sys, "platform", platform)
    with holding(PARENT, 2) as process:
        held = held_bytes(process.pid)
        process.kill()
    assert held is not None
    assert 100 * MB < held < 200 * MB
    assert held_bytes(process.pid) is None


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_what_is_mapped_from_a_file_is_not_held(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(80 * MB))
    mapped = (
        "import mmap, sys; f = open(sys.argv[1], 'rb'); "
        "m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ); sum(m[::4096]); "
    )
    code = mapped.replace("sys.argv[1]", repr(str(tmp_path / "data"))) + HOLD.format(mb=1)
    with holding(code, 1) as process:
        held = held_bytes(process.pid)
        process.kill()
    assert held is not None
    assert held < 40 * MB


def test_a_worker_that_holds_too_much_is_told_of_with_its_peak() -> None:
    now = 0.0
    watch = MemoryWatch(1000 * MB, now=lambda: now)
    assert watch.look(lambda: 900 * MB) is None
    assert watch.look(lambda: 9000 * MB) is None  # not yet time for another look
    now = 10.0
    assert watch.look(lambda: None) is None
    now = 20.0
    assert watch.look(lambda: 2000 * MB) == (
        "the worker holds 2.1 GB of memory, more than --max-rss (1.05 GB) allows"
    )
    assert watch.peak == 2000 * MB
    assert MemoryWatch(None).look(lambda: 10**15) is None


def test_the_kernel_says_that_it_ended_some_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "PROC", tmp_path)
    assert not MemoryWatch(None).ended_by_system()  # it keeps no count
    (tmp_path / "vmstat").write_text("pgfault 12\noom_kill 3\n")
    watch = MemoryWatch(None)
    assert not watch.ended_by_system()
    (tmp_path / "vmstat").write_text("pgfault 12\noom_kill 4\n")
    assert watch.ended_by_system()


def test_looking_costs_little() -> None:
    begun = time.perf_counter()
    for _ in range(20):
        held_bytes(1)
    assert (time.perf_counter() - begun) / 20 < 0.1  # once a second


def test_the_machine_has_memory() -> None:
    assert 2**28 < machine_memory() < 2**50
