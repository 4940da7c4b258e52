"""The live display on recorded events: what stands on a terminal of some size."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.events import Events, job, screen

FOUR = (job("glow"), job("realnvp"), job("denseflow", "74-10"), job("nice"))


@pytest.fixture
def four(tmp_path: Path) -> Events:
    """Four jobs, of which two have trained for some time."""
    events = Events(FOUR, tmp_path)
    events.start(0)
    events.start(1)
    events.now = 20.0
    events.train(0, 0.25)
    events.train(1, 0.2, phase="looking", steps_per_s=1234.5, score=-98.7654, score_unit="nats")
    return events


def test_all_that_is_known_of_a_job_fits_into_80_columns(four: Events) -> None:
    assert screen(four.tally) == [
        "0 of 4 jobs done, 2 running, 2 waiting, at least 1:54 left",
        "on digits, seed 0                                 steps/s    validation   left",
        "glow:tiny          training    ━━━━                  20.0     2.750 bpd   0:45",
        "realnvp:tiny       looking     ━━━                  1,234  -98.765 nats   0:48",
        "denseflow:74-10    waiting",
        "nice:tiny          waiting",
    ]


def test_where_there_is_less_room_what_matters_least_is_left_out(four: Events) -> None:
    assert screen(four.tally, 60) == [
        "0 of 4 jobs done, 2 running, 2 waiting, at least 1:54 left",
        "on digits, seed 0                       validation   left",
        "glow:tiny          training     25 %     2.750 bpd   0:45",
        "realnvp:tiny       looking      20 %  -98.765 nats   0:48",
        "denseflow:74-10    waiting",
        "nice:tiny          waiting",
    ]
    assert screen(four.tally, 40) == [
        "0 of 4 done, at least 1:54 left",
        "on digits, seed 0",  # in no column is there room for what they share
        "                                  left",
        "glow:tiny     training     25 %   0:45",
        "realnvp:tiny  looking      20 %   0:48",
        "densef…74-10  waiting",
        "nice:tiny     waiting",
    ]
    assert (
        screen(four.tally, 120)[2].split()
        == screen(four.tally, 80)[2].replace("━━━━", "━━━━━").split()
    )


@pytest.mark.parametrize(("width", "num"), [(10, 6), (20, 7), (40, 7), (60, 6), (80, 6), (120, 6)])
def test_no_line_is_as_wide_as_the_terminal(four: Events, width: int, num: int) -> None:
    lines = screen(four.tally, width)
    assert len(lines) == num
    # An interrupt is echoed behind the last one.
    assert max(map(len, lines)) <= width - len("^C")


def test_after_training_the_phase_and_the_metric_are_named(four: Events) -> None:
    four.now = 70.0
    four.beat(0, phase="evaluating", detail="bpd", done=0.5, left_s=10, score=2.1, steps_per_s=9)
    four.beat(1, phase="measuring", detail="sampling_throughput", score=2.1)
    assert screen(four.tally)[2:4] == [
        "glow:tiny          evaluating  ━━━━━━━━━╸                     2.100 bpd   0:10",
        "realnvp:tiny       measuring   sampling_throughput            2.100 bpd",
    ]


def test_jobs_that_have_ended_say_how_and_the_first_line_counts_them(four: Events) -> None:
    four.now = 80.0
    four.end(0)
    four.start(2)
    four.now = 90.0
    four.end(1, "crashed", "boom")
    assert screen(four.tally) == [
        "1 of 4 jobs done, 1 running, 1 waiting, 1 failed, about 1:20 left",
        "on digits, seed 0                                 steps/s    validation   left",
        "glow:tiny          ok          in 1:20                        2.750 bpd",
        "realnvp:tiny       crashed     in 1:30                     -98.765 nats",
        "denseflow:74-10    preparing",
        "nice:tiny          waiting",
    ]
    four.end(2, "preempted")
    four.start(3)
    four.now = 100.0
    four.end(3)
    assert screen(four.tally)[0] == "2 of 4 jobs done, 1 stopped, 1 failed, in 1:40"


@pytest.fixture
def many(tmp_path: Path) -> Events:
    """Thirty jobs: two run, three are done, one has failed."""
    events = Events([job("glow", seed=seed) for seed in range(30)], tmp_path)
    for index in range(6):
        events.start(index)
        events.train(index, 0.5)
    events.now = 100.0
    for index in range(4):
        events.end(index, "crashed" if index == 1 else "ok")
    return events


def test_what_has_no_row_is_counted(many: Events) -> None:
    assert screen(many.tally, height=10) == [
        "3 of 30 jobs done, 2 running, 24 waiting, 1 failed, about 20:30 left",
        "on digits                                       steps/s  validation   left",
        "glow:tiny s0  ok          in 1:40                         2.500 bpd",
        "glow:tiny s1  crashed     in 1:40                         2.500 bpd",
        "glow:tiny s2  ok          in 1:40                         2.500 bpd",
        "glow:tiny s3  ok          in 1:40                         2.500 bpd",
        "glow:tiny s4  training    ━━━━━━━━━━               20.0   2.500 bpd   0:30",
        "glow:tiny s5  training    ━━━━━━━━━━               20.0   2.500 bpd   0:30",
        "and 24 more waiting",
    ]


def test_what_runs_and_what_failed_come_before_what_is_done_and_what_waits(many: Events) -> None:
    lines = screen(many.tally, height=7)
    assert [line.split()[1] for line in lines[2:5]] == ["s1", "s4", "s5"]
    assert lines[5:] == ["and 27 more: 3 done, 24 waiting"]
    lines = screen(many.tally, height=8)
    assert [line.split()[1] for line in lines[2:6]] == ["s1", "s3", "s4", "s5"]  # the latest done


@pytest.mark.parametrize("height", [1, 2, 5, 10, 24, 33, 34, 50])
def test_the_display_fits_into_every_height(many: Events, height: int) -> None:
    # Shorter than its four lines no terminal is expected to be.
    assert len(screen(many.tally, height=height)) <= max(4, height - 1)


def test_names_too_long_stay_distinct(tmp_path: Path) -> None:
    data = ("imagenet32-pixelrnn", "imagenet32")
    jobs = [job("denseflow", "74-10", dataset=d, seed=s) for s in range(2) for d in data]
    events = Events(jobs, tmp_path)
    for width in (40, 60, 80, 120):
        rows = screen(events.tally, width)[2:]
        assert len({row.partition("waiting")[0] for row in rows}) == 4, rows
    assert screen(events.tally, 60)[2] == "denseflow:…xelrnn s0  waiting"


def test_a_terminal_without_unicode_gets_ascii(tmp_path: Path) -> None:
    long = "imagenet32-pixelrnn"
    events = Events([job("denseflow", dataset=long), job("glow", dataset="digits")], tmp_path)
    events.start(0)
    events.train(0, 0.5)
    assert screen(events.tally, 60, encoding="ascii")[2:] == [
        "denseflow:~-pixelrnn  training     50 %   2.500 bpd   0:30",
        "glow:tiny digits      waiting",
    ]
    assert "------ " in screen(events.tally, 80, encoding="ascii")[2]


def test_time_left_of_training_counts_evaluation_where_it_is_foreseen(tmp_path: Path) -> None:
    events = Events(FOUR[:1], tmp_path)
    events.start(0)
    events.train(0, 0.5, evaluation_s=300.0)
    overall, _, line = screen(events.tally)
    assert overall.endswith("at least 5:30 left")
    assert line.endswith("5:30")


def test_time_left_counts_jobs_that_wait_for_a_slot(tmp_path: Path) -> None:
    events = Events(FOUR, tmp_path)
    assert events.tally.left_s() is None
    events.start(0)
    events.start(1)
    assert events.tally.left_s() is None
    events.now = 30.0
    events.train(0, 0.5)
    assert events.tally.left_s() == pytest.approx(30 + 60)  # the other has its 60 s, too
    events.train(1, 0.25)
    # Each of the two that wait takes the mean of 60 and 75 s, and begins when a slot is free.
    assert events.tally.left_s() == pytest.approx(45 + 67.5)
    events.now = 100.0
    events.end(0)
    events.beat(1, phase="measuring", detail="fid")
    events.start(2)
    assert events.tally.left_s() == pytest.approx(100 + 0)
    events.now = 110.0
    events.end(1)
    events.start(3)
    assert events.tally.left_s() == pytest.approx(105)
