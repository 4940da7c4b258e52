"""Plain lines on recorded events, by a clock that the test sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowbench.api import executors
from flowbench.cli.progress import PLAIN_EVERY_S, Verbosity, progress_display
from flowbench.runner.attempt import Placement
from tests.cli.events import Events, job, screen
from tests.store import attempts as make

JOBS = (job("glow"), job("realnvp"))
GLOW, REALNVP = "glow:tiny on digits, seed 0", "realnvp:tiny on digits, seed 0"


def test_a_job_has_at_most_one_line_in_15_s_and_only_if_something_changed(tmp_path: Path) -> None:
    events = Events(JOBS, tmp_path)
    events.start(0)
    said = {}
    for second in range(1, 91):
        events.now = float(second)
        events.train(0, min(second, 40) / 60)  # it hangs after 40 s
        lines = events.printed()
        if lines:
            said[second] = lines
    assert said == {
        15: [f"{GLOW}: training, 25 % of budget, step 300, 20.0 steps/s, validation 2.750 bpd, "
             "0:45 left"],
        30: [f"{GLOW}: training, 50 % of budget, step 600, 20.0 steps/s, validation 2.500 bpd, "
             "0:30 left"],
        45: [f"{GLOW}: training, 67 % of budget, step 800, 20.0 steps/s, validation 2.333 bpd, "
             "0:20 left"],
    }  # fmt: skip


def test_jobs_have_their_lines_apart(tmp_path: Path) -> None:
    events = Events(JOBS, tmp_path)
    events.start(0)
    events.now = 10.0
    events.start(1)
    events.now = PLAIN_EVERY_S
    events.train(0, 0.25)
    events.train(1, 0.1)
    assert [line.partition(":")[0] for line in events.printed()] == ["glow"]
    events.now = 10.0 + PLAIN_EVERY_S
    events.train(0, 0.4)
    events.train(1, 0.25)
    assert [line.partition(":")[0] for line in events.printed()] == ["realnvp"]


def test_each_phase_says_what_is_known_of_it(tmp_path: Path) -> None:
    events = Events(JOBS, tmp_path)
    events.start(0)
    said = []
    for fields in (
        {"phase": "preparing", "detail": "the model"},
        {"phase": "looking", "evaluation_s": 310.0},
        {"phase": "training", "progress": 0.4, "left_s": 12.0, "evaluation_s": 310.0},
        {"phase": "evaluating", "detail": "bpd", "done": 0.1, "left_s": 135.0, "score": 2.5},
        {"phase": "sampling", "detail": "fid", "done": 0.5, "left_s": 3725.0},
        {"phase": "measuring", "detail": "flops", "step": 9, "steps_per_s": 3.0},
    ):
        events.now += PLAIN_EVERY_S
        events.beat(0, **fields)
        said += events.printed()
    assert said == [
        f"{GLOW}: preparing the model",
        f"{GLOW}: looking, 0 % of budget, step 0, then about 5:10 of evaluation",
        f"{GLOW}: training, 40 % of budget, step 0, 0:12 left, then about 5:10 of evaluation",
        f"{GLOW}: evaluating bpd, 10 %, validation 2.500 bpd, 2:15 left",
        f"{GLOW}: sampling fid, 50 %, 1:02:05 left",
        f"{GLOW}: measuring flops",
    ]


def test_an_end_is_said_at_once_with_what_is_left(tmp_path: Path) -> None:
    events = Events(JOBS, tmp_path)
    events.start(0)
    events.train(0, 0.5)
    events.now = 70.0
    events.end(0)
    events.start(1)
    events.now = 80.0
    events.train(1, 0.1)
    events.end(1, "crashed", "ValueError: a reason " + 10 * "that is long " + "[and bracketed]")
    first, second = events.printed()
    assert first == (f"{GLOW}: ok after 1:10, 1,200 steps, validation 2.500 bpd [1 of 2 jobs]")
    assert second.startswith(f"{REALNVP}: crashed after 0:10, 1,200 steps, ValueError: a reason")
    assert second.endswith("[and bracketed] [2 of 2 jobs, in 1:20]")


def test_quiet_says_warnings_and_what_the_user_asks_for_alone(tmp_path: Path) -> None:
    events = Events(JOBS, tmp_path, "quiet")
    events.start(0)
    events.now = 100.0
    events.train(0, 0.5)
    events.end(0)
    assert events.printed() == []
    events.display.warn("the disk is full")
    events.display.stopping(1)
    events.display.stopping(2)
    assert events.printed() == [
        "warning: the disk is full",
        "stopping: 1 job saves its state first (Ctrl-C again ends at once, unsaved)",
        "stopping: 2 jobs save their state first (Ctrl-C again ends at once, unsaved)",
    ]


def test_verbose_names_folders_and_every_look_once(tmp_path: Path) -> None:
    events = Events(JOBS, tmp_path, "verbose")
    attempt = events.start(0)
    assert events.printed() == [f"{GLOW}: attempt 1, 2 threads, {attempt.path}"]
    points = [
        '{"step": 0, "examples": 0, "charged_s": 0, "progress": 0, "bpd": 4.1}',
        '{"step": 30, "examples": 9, "charged_s": 1, "progress": 0.02, "loss": 3.25, "bpd": 3.0, '
        '"bpd_ema": 3.5}',
    ]
    events.train(0, 0.01)  # nothing is written yet
    attempt.write("curves.jsonl", points[0] + "\n")
    for _ in range(3):  # the same heartbeat is seen more than once
        events.train(0, 0.01)
    events.now = 1.0
    events.train(0, 0.01)
    assert events.printed() == [f"{GLOW}: look at step 0, 0 % of budget: 4.100 bits/dim"]
    attempt.write("curves.jsonl", "\n".join(points) + "\n")
    events.now = 2.0
    events.end(0)
    assert events.printed()[0] == (
        f"{GLOW}: look at step 30, 2 % of budget: 3.000 bits/dim, 3.500 bits/dim of averaged "
        "weights, training loss 3.25"
    )


@pytest.mark.parametrize("verbosity", ["quiet", "normal", "verbose"])
def test_nothing_but_lines_reaches_what_is_no_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, verbosity: Verbosity
) -> None:
    with progress_display(JOBS, 2, verbosity) as display:
        display.ended(JOBS[0], make.attempt(JOBS[0].row))
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b" not in err
    assert err.count("\n") == (verbosity != "quiet")


def test_a_job_in_a_queue_says_so_once_and_again_once_it_is_back_there(tmp_path: Path) -> None:
    events = Events(JOBS, tmp_path)
    placement = Placement(executor="slurm", options={}, job="12_0")
    for why in ("Priority", "Resources"):
        events.display.placed(JOBS[0], placement, executors.JobState(phase="waiting", why=why))
    assert events.printed() == [f"{GLOW}: in the queue as slurm job 12_0 (Priority)"]
    assert any("waiting" in line and "12_0 Resources" in line for line in screen(events.tally))
    assert events.tally.counts() == {"waiting": 2}
    events.start(0)
    assert events.tally.counts() == {"running": 1, "waiting": 1}
    events.display.placed(JOBS[0], placement, None)
    assert events.printed() == [f"{GLOW}: in the queue as slurm job 12_0 (no answer)"]
    assert events.tally.counts() == {"waiting": 2}
