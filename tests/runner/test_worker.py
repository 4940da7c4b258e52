"""The process of a worker: what it listens to, and what its exit status says."""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flowbench.runner import turnstile, worker
from flowbench.runner.under_way import Attempt
from flowbench.store.records import AttemptRow
from tests.runner.test_survey import begin
from tests.store import attempts as make

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture
def _own_signals() -> Iterator[None]:
    """This process gets its handlers back."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize("number", NUMBERS)
def test_whatever_signal_a_cluster_sends_asks_to_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    asked = []

    def run_attempt(attempt: Attempt) -> AttemptRow:
        asked.append(attempt.asked_to_stop())
        signal.raise_signal(number)
        asked.append(attempt.asked_to_stop())
        return make.attempt(attempt.job, 1, status="preempted")

    monkeypatch.setattr(worker, "run_attempt", run_attempt)
    attempt = begin(tmp_path)
    assert worker.main(str(attempt.path)) == 75
    assert asked == [False, True]
    record = attempt.record()
    assert record is not None
    assert record.status == "preempted"


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize(("status", "said"), [("ok", 0), ("diverged", 3), ("oom", 3)])
def test_the_exit_status_says_whether_to_start_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: Any, said: int
) -> None:
    monkeypatch.setattr(
        worker, "run_attempt", lambda attempt: make.attempt(attempt.job, 1, status=status)
    )
    assert worker.main(str(begin(tmp_path).path)) == said


@pytest.mark.usefixtures("_own_signals")
def test_what_the_caller_does_besides_is_not_the_job_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its threads do not end the process, and the job no longer stands at the turnstile."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(worker, "run_attempt", lambda attempt: make.attempt(attempt.job, 1))
    done = threading.Event()
    besides = threading.Thread(target=done.wait)
    besides.start()
    try:
        assert worker.main(str(begin(tmp_path).path)) == 0
    finally:
        done.set()
        besides.join()
    monkeypatch.setattr(turnstile, "PASS_OVER_S", 1.0)
    with closing(turnstile.Turnstile()) as own, own.alone():
        pass  # it would say so, had it waited for the job
