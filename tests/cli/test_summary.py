"""What a run says before and after: counted, and once for each kind of reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowbench.cli.summary import failures, opening, succeeded, unavailable
from flowbench.runner.attempt import AttemptDir, TrialOrder
from flowbench.runner.decide import NOT_RUN, Decision
from flowbench.runner.placed import IN_QUEUE
from flowbench.runner.plan import Job
from flowbench.store.records import AttemptRow, MeasurementRow
from tests.cli.events import job
from tests.store import attempts as make

SOURCE = AttemptDir(Path("1"))


def decided(*given: tuple[Job, Any, str], source: AttemptDir | None = None) -> Any:
    return [(job, Decision(action=action, why=why, source=source)) for job, action, why in given]


def test_a_rerun_begins_with_how_many_are_reused_and_how_many_run() -> None:
    jobs = [job("glow", seed=seed) for seed in range(15)]
    found = decided(*((job, "reuse" if i < 2 else "run", NOT_RUN) for i, job in enumerate(jobs)))
    assert list(opening(found)) == ["2 reused, 13 to run"]


def test_a_job_in_a_queue_is_not_said_to_run() -> None:
    found = decided(
        (job("glow"), "wait", f"{IN_QUEUE} slurm job 7_0"),
        (job("nice"), "wait", "running elsewhere (far, pid 7, since noon)"),
        (job("realnvp"), "run", NOT_RUN),
    )
    assert list(opening(found)) == ["1 running elsewhere, 1 queued, 1 to run"]


def test_skips_of_one_kind_are_one_line() -> None:
    def skipped(model: str, dataset: str, seed: int) -> tuple[Job, Any, str]:
        why = f"{model} is made for image data, {dataset} is vector data"
        return job(model, dataset=dataset, seed=seed), "skip", why

    models, datasets = ("glow", "denseflow", "tarflow"), ("two-moons", "pinwheel")
    found = decided(*(skipped(m, d, s) for s in (0, 1) for d in datasets for m in models))
    other = decided((job("nice", dataset="two-moons"), "skip", "nice has no sampling options"))
    assert list(opening([*found, *other])) == [
        "13 skipped",
        "12 skipped: glow is made for image data, two-moons is vector data; likewise denseflow on "
        "two-moons, tarflow on two-moons, glow on pinwheel and 2 more",
        "1 skipped: nice has no sampling options",
    ]
    assert list(opening(found[:1]))[1:] == [
        "1 skipped: glow is made for image data, two-moons is vector data"
    ]


def test_why_jobs_start_again_is_said_once_for_each_reason() -> None:
    found = decided(
        (job("glow"), "run", "the code of glow has changed"),
        (job("glow", seed=1), "run", "the code of glow has changed"),
        (job("nice"), "resume", "was preempted"),
        (job("realnvp"), "evaluate", "to measure fid"),
        (job("tarflow"), "run", NOT_RUN),
    )
    assert list(opening(found)) == [
        "5 to run",
        "2 run again (the code of glow has changed)",
        "1 resumed (was preempted)",
        "1 measured, not trained (to measure fid)",
    ]


def test_failures_that_are_left_are_one_line_for_each_way_of_failing() -> None:
    found = decided(
        (job("glow"), "leave", "crashed: ValueError: a (--rerun failed)"),
        (job("nice"), "leave", "crashed: OSError: b (--rerun failed)"),
        (job("realnvp"), "leave", "oom: too large (--rerun failed)"),
        source=SOURCE,
    )
    assert list(opening(found)) == [
        "3 left as they are",
        "2 left: crashed: ValueError: a (--rerun failed); likewise nice on digits",
        "1 left: oom: too large (--rerun failed)",
    ]


@pytest.fixture
def good() -> AttemptRow:
    return make.attempt(job("glow").row)


def test_a_job_that_another_run_has_is_named_and_is_no_success(good: AttemptRow) -> None:
    found = decided(
        (job("glow"), "run", NOT_RUN), (job("nice"), "leave", "another run is at work on it")
    )
    assert list(opening(found))[1:] == ["1 left: another run is at work on it"]
    records = {good.job.job_id: good}
    assert list(failures(found, records)) == [
        "left out: nice:tiny on digits, seed 0: another run is at work on it"
    ]
    assert not succeeded(found, records)
    assert succeeded(found[:1], records)


def test_what_failed_names_its_log(good: AttemptRow) -> None:
    bad = make.attempt(job("nice").row, status="diverged", reason="no finite gradient")
    found = decided((job("glow"), "run", NOT_RUN), (job("nice"), "run", NOT_RUN))
    records = {row.job.job_id: row for row in (good, bad)}
    assert list(failures(found, records)) == [
        "diverged: nice:tiny on digits, seed 0: no finite gradient "
        f"(flowbench results logs {bad.job.job_id})"
    ]
    assert not succeeded(found, records)


def test_contended_results_are_counted_with_what_to_do(good: AttemptRow) -> None:
    waited = good.model_copy(update={"charged_s": 60.0, "run_delay_s": 9.0})
    said = list(failures(decided((job("glow"), "run", NOT_RUN)), {good.job.job_id: waited}))
    assert said == ["1 contended: waited for a core over 10 % of training (--rerun contended)"]
    assert succeeded(decided((job("glow"), "run", NOT_RUN)), {good.job.job_id: waited})


def test_a_refuted_result_says_by_what(good: AttemptRow) -> None:
    values = {"metric": "q", "unit": "", "direction": "none", "value": 2.72}
    rows = [
        MeasurementRow(name="mass", refutes="Mass 2.72 is above 1.01", **values),
        MeasurementRow(name="beside", **values),
        MeasurementRow(name="loops", refutes="Loops 2.72 is above 0", **values),
    ]
    wrong = good.model_copy(update={"measurements": tuple(rows)})
    found = decided((job("glow"), "run", NOT_RUN))
    assert list(failures(found, {good.job.job_id: wrong})) == [
        "refuted: glow:tiny on digits, seed 0: Mass 2.72 is above 1.01; Loops 2.72 is above 0"
    ]
    assert succeeded(found, {good.job.job_id: wrong})


def test_a_metric_that_failed_is_named_and_is_no_success(good: AttemptRow) -> None:
    rows = [
        make.measured("odd", None, "", status="failed", reason="ValueError: no"),
        make.measured("gpu_hours", None, "h", status="unavailable", reason="trained on CPU"),
    ]
    broken = good.model_copy(update={"measurements": tuple(rows)})
    records = {good.job.job_id: broken}
    assert list(unavailable(records.values(), asked=())) == ["failed: odd: ValueError: no"]
    assert not succeeded(decided((job("glow"), "run", NOT_RUN)), records)


def test_a_long_reason_is_brief_beneath_the_table() -> None:
    failed = make.failed(make.job("glow")).model_copy(update={"reason": "why \x1b[2J" * 100})
    one = job("glow")
    (line,) = failures(decided((one, "run", NOT_RUN)), {one.row.job_id: failed})
    assert line.isprintable()
    assert len(line) < 300


def test_a_trial_that_fails_is_said_and_fails_no_run(good: AttemptRow) -> None:
    trial = TrialOrder(sweep="abc", number=0)
    lost, behind = (replace(job("glow", seed=seed), trial=trial) for seed in (8, 9))
    found = decided((job("glow"), "run", ""), (lost, "run", ""), (behind, "run", ""))
    pruned = make.attempt(behind.row, status="pruned", reason="behind", measurements=())
    records = {
        found[0][0].row.job_id: good,
        lost.row.job_id: make.failed(lost.row),
        behind.row.job_id: pruned,
    }
    assert succeeded(found, records)
    (line,) = failures(found, records)
    assert line.startswith("diverged: glow:tiny on digits, seed 8: 50 steps")
    del records[good.job.job_id]
    assert not succeeded(found[1:], records)  # trials alone are no result
