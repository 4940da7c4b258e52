"""How ``flowbench reproduce`` ends: by its tolerance, by a signal, by a job that never began."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowbench.store.records import AttemptRow
from tests.cli.command import Command
from tests.store import attempts as make

BEFORE = make.attempt(make.job("fake-gaussian"), measurements=(make.measured("nll", 2.0, "nats"),))
Ends = Callable[[Callable[[Any], AttemptRow]], None]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ends:
    """Has the job run again end in a certain way."""
    make.write(tmp_path, BEFORE)
    job = SimpleNamespace(row=BEFORE.job, label=BEFORE.job.label)
    monkeypatch.setattr("flowbench.runner.reproduce.job_again", lambda *_: (job, None))

    def set_end(run: Callable[[Any], AttemptRow]) -> None:
        class Scheduler:
            interrupts = 0

            def interrupt(self) -> None:
                self.interrupts += 1

            def run(self, decisions: Any) -> dict[str, AttemptRow]:
                return {BEFORE.job.job_id: run(self)}

        monkeypatch.setattr(
            "flowbench.runner.run.run_again", lambda *_, **__: lambda _: Scheduler()
        )

    return set_end


@pytest.mark.parametrize(
    ("tolerance", "expected"), [("0.002", 0), ("0.001", 1), ("0", 1), (None, 0)]
)
def test_the_tolerance_is_held_against_the_difference_itself(
    flowbench: Command, ends: Ends, tmp_path: Path, tolerance: str | None, expected: int
) -> None:
    """Not against the power of ten that is printed: 1.5e-3 is within 2e-3."""

    def run(_: Any) -> AttemptRow:
        values = (make.measured("nll", 2.003, "nats"),)
        after = make.attempt(BEFORE.job, 2, measurements=values)
        make.write(tmp_path, after)
        return after

    ends(run)
    more = () if tolerance is None else ("--tolerance", tolerance)
    status, out, _ = flowbench("reproduce", BEFORE.job.job_id, *more, "--results", str(tmp_path))
    assert "agree within 1e-02 of their size" in " ".join(out.split())
    assert status == expected


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_signals_interrupt_it_as_they_do_a_run(
    flowbench: Command, ends: Ends, tmp_path: Path, name: str
) -> None:
    number = signal.Signals[name]
    # A shell has what it runs behind it ignore SIGINT, and what is ignored stays so.
    outer = signal.signal(number, signal.default_int_handler)
    handler = signal.getsignal(number)

    def run(scheduler: Any) -> AttemptRow:
        os.kill(os.getpid(), number)
        assert scheduler.interrupts == 1
        raise KeyboardInterrupt

    ends(run)
    try:
        status, out, err = flowbench("reproduce", BEFORE.job.job_id, "--results", str(tmp_path))
        assert (status, out, err) == (130, "stopped; there is nothing to compare\n", "")
        assert signal.getsignal(number) == handler
    finally:
        signal.signal(number, outer)


def test_a_job_that_could_not_be_started_says_why(
    flowbench: Command, ends: Ends, tmp_path: Path
) -> None:
    reason = "it could not be started: [Errno 28] No space left on device"
    ends(lambda _: make.attempt(BEFORE.job, 0, status="crashed", reason=reason, measurements=()))
    status, out, err = flowbench("reproduce", BEFORE.job.job_id, "--results", str(tmp_path))
    assert (status, err) == (1, "")
    assert f"-0 is crashed: {reason}" in " ".join(out.split())
