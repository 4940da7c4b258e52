"""A worker that outlives its run is stopped by itself, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flowbench.runner.attempt import HEARTBEAT, Heartbeat
from flowbench.runner.executors.left_over import TAG, end_left_over
from flowbench.runner.obituary import bury
from tests.runner.test_survey import begin

SCRIPT = """
import sys, threading, time
from pathlib import Path
from types import SimpleNamespace
from flowbench.runner import unattended
from flowbench.runner.attempt import AttemptDir, Limits

unattended.KILL_AFTER_S, unattended.SILENCE_S, unattended.INTERVAL_S = 0.2, 1.0, 0.1
directory, stop = AttemptDir(Path(sys.argv[1])), threading.Event()
order = directory.order()
attempt = SimpleNamespace(directory=directory, order=order, job=order.job)
unattended.hold_to(Limits(timeout_s=5.0, max_rss=MAX_RSS), attempt, stop)
"""
SAVES = "stop.wait(30); print('asked to stop')"
HANGS = "time.sleep(30)"
HOLDS_THE_INTERPRETER = "import re; re.match('(a+)+$', 'a' * 40 + 'b')"


def worker(attempt: Path, does: str, max_rss: int | None = None) -> tuple[int, str]:
    """What becomes of a process of its own, and what it prints."""
    script = f"MAX_RSS = {max_rss}\n{SCRIPT}\n{does}"
    done = subprocess.run(
        [sys.executable, "-c", script, str(attempt)],
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "status", "said"),
    [(SAVES, 0, "asked to stop"), (HANGS, -signal.SIGKILL, "")],
)
def test_what_takes_too_long_is_asked_and_then_ended(
    tmp_path: Path, does: str, status: int, said: str
) -> None:
    attempt = begin(tmp_path, phase="evaluating")
    beat = Heartbeat(pid=1, phase="evaluating", beat=time.monotonic() + 60.0)
    attempt.write(HEARTBEAT, beat.model_dump_json())
    ended, printed = worker(attempt.path, does)
    assert ended == status
    assert said in printed
    found, reason = attempt.stopped_by()
    assert found == "timeout"
    assert "outside training (evaluating); see --timeout" in reason
    bury_and_expect(tmp_path, attempt.path, "timeout", "outside training")


@pytest.mark.slow
def test_what_holds_too_much_memory_is_ended(tmp_path: Path) -> None:
    attempt = begin(tmp_path)
    order = attempt.order().model_copy(update={"spawned": time.monotonic()})
    attempt.write("job.json", order.model_dump_json())
    assert worker(attempt.path, HANGS, max_rss=2**20)[0] == -signal.SIGKILL
    bury_and_expect(tmp_path, attempt.path, "oom", "more than --max-rss (1.05 MB) allows")


@pytest.mark.slow
def test_what_holds_the_interpreter_says_where_and_ends(tmp_path: Path) -> None:
    attempt = begin(tmp_path)
    order = attempt.order().model_copy(update={"spawned": time.monotonic()})
    attempt.write("job.json", order.model_dump_json())
    ended, printed = worker(attempt.path, HOLDS_THE_INTERPRETER)
    assert ended == 1
    assert "Timeout (0:00:01)!" in printed
    assert "re/__init__.py" in printed
    bury_and_expect(tmp_path, attempt.path, "killed", "its process ended without a record")


def bury_and_expect(results: Path, attempt: Path, status: str, reason: str) -> None:
    from flowbench.runner.attempt import AttemptDir, ResultsDir

    bury(ResultsDir(results), AttemptDir(attempt).order().job)
    record = AttemptDir(attempt).record()
    assert record is not None
    assert record.status == status
    assert reason in (record.reason or "")


def test_an_attempt_that_was_to_save_and_left_no_record_was_killed(tmp_path: Path) -> None:
    attempt = begin(tmp_path)
    attempt.ask_to_stop("preempted", "cancelled by flowbench cancel")
    reason = "cancelled by flowbench cancel; its process ended without a record"
    bury_and_expect(tmp_path, attempt.path, "killed", reason)


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_what_a_worker_had_started_ends_with_the_next_run(tmp_path: Path) -> None:
    mine, other = begin(tmp_path), begin(tmp_path, seed=1)
    left = [
        subprocess.Popen(["sleep", "60"], env={**os.environ, TAG: str(attempt.path)})
        for attempt in (mine, other)
    ]
    try:
        bury_and_expect(tmp_path, mine.path, "killed", "without a record")
        assert left[0].wait(timeout=10) == -signal.SIGKILL
        assert left[1].poll() is None
        end_left_over(other.path)
        assert left[1].wait(timeout=10) == -signal.SIGKILL
    finally:
        for process in left:
            process.kill()
