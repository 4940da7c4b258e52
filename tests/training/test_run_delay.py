from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowbench.training.clock import Clock
from flowbench.training.run_delay import RunDelay

linux = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="the system keeps no such statistics"
)


class Threads:
    """Statistics of threads that a test makes up, in seconds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def say(self, **waited_s: float) -> None:
        for name, seconds in waited_s.items():
            (self.folder / name).mkdir(exist_ok=True)
            text = f"5000 {round(seconds * 1e9)} 7\n"
            (self.folder / name / "schedstat").write_text(text, encoding="ascii")


@pytest.fixture
def threads(tmp_path: Path) -> Threads:
    return Threads(tmp_path)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Wall and CPU time, which stand still unless a test moves them; on one core."""
    times = [100.0, 10.0]
    monkeypatch.setattr(time, "monotonic", lambda: times[0])
    monkeypatch.setattr(time, "process_time", lambda: times[1])
    monkeypatch.setattr("flowbench.training.run_delay.available_cores", lambda: (0,))
    return times


def pass_time(now: list[float], wall: float, cpu: float) -> None:
    now[0] += wall
    now[1] += cpu


def test_only_stretches_that_count_do(threads: Threads, now: list[float]) -> None:
    threads.say(main=1.0)
    delay = RunDelay(threads.folder)
    for waited, counts in [(1.5, True), (3.5, False), (3.75, True)]:
        threads.say(main=waited)
        pass_time(now, 4.0, 1.0)
        delay.lap(counts)
    assert delay.seconds == pytest.approx(0.5 + 0.25)


def test_waits_side_by_side_count_once(threads: Threads, now: list[float]) -> None:
    threads.say(main=0.0, worker=0.0)
    delay = RunDelay(threads.folder)
    threads.say(main=1.0, worker=3.0, born=2.0)
    pass_time(now, 4.0, 0.5)
    delay.lap(counts=True)
    threads.say(main=3.0, worker=3.0)  # in turn: both count
    pass_time(now, 4.0, 0.5)
    delay.lap(counts=True)
    assert delay.seconds == pytest.approx(3.0 + 2.0)


def test_no_wait_is_longer_than_what_passed(threads: Threads, now: list[float]) -> None:
    threads.say(main=0.0)
    delay = RunDelay(threads.folder)
    threads.say(main=9.0)  # a wait counts when it ends
    pass_time(now, 2.0, 0.0)
    delay.lap(counts=True)
    assert delay.seconds == pytest.approx(2.0)


def test_what_its_own_threads_took_from_each_other_does_not_count(
    threads: Threads, now: list[float]
) -> None:
    threads.say(main=0.0)
    delay = RunDelay(threads.folder)
    threads.say(main=2.0)
    pass_time(now, 4.0, 3.5)
    delay.lap(counts=True)
    assert delay.seconds == pytest.approx(0.5)


@pytest.mark.parametrize("statistics", [None, "0 0 0\n"])
def test_a_system_without_statistics_says_nothing(tmp_path: Path, statistics: str | None) -> None:
    if statistics is not None:
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "schedstat").write_text(statistics, encoding="ascii")
    delay = RunDelay(tmp_path)
    delay.lap(counts=True)
    delay.carry(3.0)
    assert delay.seconds is None


def test_attempts_add_up_unless_one_is_unknown(threads: Threads) -> None:
    threads.say(main=0.0)
    delay = RunDelay(threads.folder)
    delay.carry(2.5)
    assert delay.seconds == 2.5
    delay.carry(None)
    delay.lap(counts=True)
    assert delay.seconds is None


def test_the_clock_counts_charged_parts_alone(threads: Threads, now: list[float]) -> None:
    clock = Clock(lambda: now[0])
    threads.say(main=0.0)
    clock.run_delay = RunDelay(threads.folder)
    waited = 0.0
    for part in ("setup", "other", "data", "train", "eval", "train", "wait", "checkpoint"):
        with clock.timing(part):
            waited += 0.25
            threads.say(main=waited)
            pass_time(now, 0.5, 0.0)
    assert clock.charged_s == pytest.approx(4 * 0.5)
    assert clock.run_delay.seconds == pytest.approx(4 * 0.25)


WORK = {
    "computes": "while time.monotonic() < end: pass",
    "sleeps": "time.sleep(end - time.monotonic())",
    "reads a pipe": "select.select([os.pipe()[0]], [], [], end - time.monotonic())",
}
MEASURED = """
import os, select, time
os.sched_setaffinity(0, {core})
from flowbench.training.clock import Clock
print("ready", flush=True)
input()
clock = Clock()
end = time.monotonic() + 0.5
with clock.timing("train"):
    {work}
print(clock.run_delay.seconds / clock.charged_s)
"""
BUSY = "import os; os.sched_setaffinity(0, {core})\nprint('ready', flush=True)\nwhile True: pass"


def started(source: str) -> subprocess.Popen[str]:
    """A process that has said that it is ready."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", source]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, encoding="utf-8")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def waited_share(work: str) -> float:
    """The share of its time that work waits for a core on which another process is busy."""
    core = {min(os.sched_getaffinity(0))}
    measured = started(MEASURED.format(core=core, work=WORK[work]))
    busy = started(BUSY.format(core=core))
    try:
        return float(measured.communicate("\n", timeout=60)[0])
    finally:
        busy.kill()
        busy.communicate()


@linux
def test_two_busy_processes_on_one_core_wait_for_it() -> None:
    assert waited_share("computes") > 0.2


@linux
@pytest.mark.parametrize("work", ["sleeps", "reads a pipe"])
def test_a_process_that_sleeps_waits_for_no_core(work: str) -> None:
    assert waited_share(work) < 0.1
