from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowbench.registry import Registry
from flowbench.runner.attempt import (
    CHECKPOINT,
    CHECKPOINTS,
    MODEL,
    AttemptDir,
    ResultsDir,
    TrialOrder,
)
from flowbench.runner.decide import Decision, Machine, Rerun, decide
from flowbench.runner.plan import Job, plan
from flowbench.store.attempt_files import RECORD
from flowbench.store.records import AttemptRow, AttemptStatus, MeasurementRow, Trial, Tuning
from flowbench.suite.schema import Suite

MACHINE = Machine(device_kind="cpu", device_name="a CPU", num_threads=1)

Leave = Callable[..., AttemptDir]
"""Leaves an attempt behind: its status, its files, and what its record says besides."""

Decided = Callable[..., Decision]
"""What is decided for the job, or for another, under a ``--rerun``."""


@pytest.fixture(scope="module")
def job(fake_registry: Registry) -> Job:
    suite = Suite(
        models=("fake-gaussian",), datasets=("fake-images",), budget="5s", metrics=("fake_nll",)
    )
    (job,), _ = plan(suite, fake_registry, Path())
    return job


@pytest.fixture
def leave(job: Job, tmp_path: Path) -> Leave:
    """Leaves an attempt behind, as a worker would."""

    def make(
        status: AttemptStatus,
        *files: str,
        metrics: tuple[str, ...] = ("fake_nll",),
        value: float | None = 1.0,
        metric_code: str | None = None,
        protocol: dict[str, Any] | None = None,
        **fields: Any,
    ) -> AttemptDir:
        attempt = ResultsDir(tmp_path).new_attempt(job.row.job_id)
        for name in files:
            (attempt.path / name).touch()
        rows = tuple(
            MeasurementRow(
                metric=m,
                name=m,
                value=value,
                unit="",
                direction="lower",
                status="ok" if value is not None else "unavailable",
                code=metric_code or job.code.metrics[m],
                protocol=protocol or {},
            )
            for m in metrics
        )
        facts: dict[str, Any] = {
            "device_kind": "cpu",
            "device_name": "a CPU",
            "num_threads": 1,
            "core_code": job.code.core,
            "model_code": job.code.model,
            "dataset_code": job.code.dataset,
            **fields,
        }
        attempt.write_record(
            AttemptRow(
                attempt_id=f"{job.row.job_id}-{attempt.number}",
                number=attempt.number,
                job=job.row,
                status=status,
                reason="because",
                started="2026-01-01T00:00:00+00:00",
                ended="2026-01-01T00:00:01+00:00",
                measurements=rows,
                **facts,
            )
        )
        return attempt

    return make


@pytest.fixture
def decided(job: Job, tmp_path: Path) -> Decided:
    def make(rerun: Rerun | None = None, job: Job = job, **code: str) -> Decision:
        attempts = ResultsDir(tmp_path).attempts(job.row.job_id)
        edited = replace(job, code=job.code.model_copy(update=code))
        return decide(edited, attempts, MACHINE, rerun)

    return make


def test_a_new_job_runs(decided: Decided) -> None:
    assert decided().action == "run"


def test_a_done_job_is_reused_unless_all_is_asked_for(leave: Leave, decided: Decided) -> None:
    leave("ok")
    assert decided().action == "reuse"
    assert not decided().stale
    assert decided("failed").action == "reuse"
    assert decided("all").action == "run"


def test_a_result_of_another_core_is_stale_and_in_use(leave: Leave, decided: Decided) -> None:
    leave("ok")
    decision = decided(core="other")
    assert (decision.action, decision.stale) == ("reuse", True)
    assert decided("stale", core="other").action == "run"


@pytest.mark.parametrize("part", ["model", "dataset"])
@pytest.mark.parametrize("status", ["ok", "crashed", "diverged", "preempted"])
def test_an_attempt_by_other_code_of_model_or_dataset_counts_for_nothing(
    leave: Leave, decided: Decided, job: Job, part: str, status: AttemptStatus
) -> None:
    leave(status, MODEL, CHECKPOINT)
    decision = decided(**{part: "other"})
    name = {"model": job.row.model, "dataset": job.row.dataset}[part]
    assert (decision.action, decision.why) == ("run", f"the code of {name} has changed")


def test_code_that_is_changed_back_finds_its_result_again(leave: Leave, decided: Decided) -> None:
    first = leave("ok")
    leave("ok", model_code="other")
    decision = decided()
    assert decision.action == "reuse"
    assert decision.source is not None
    assert decision.source.path == first.path


def test_attempts_that_do_not_say_their_code_were_made_by_other(
    leave: Leave, decided: Decided
) -> None:
    leave("ok", code_sha256="c0de", core_code=None, model_code=None, dataset_code=None)
    decision = decided()
    assert decision.action == "run"
    assert decision.why == "its attempts do not say which code they ran"


def test_an_edited_metric_measures_kept_weights_again(leave: Leave, decided: Decided) -> None:
    leave("ok", MODEL, metric_code="other")
    decision = decided()
    assert (decision.action, decision.why) == ("evaluate", "the code of fake_nll has changed")


def test_an_edited_metric_without_weights_trains_again(leave: Leave, decided: Decided) -> None:
    leave("ok", metric_code="other")
    assert decided().action == "run"
    assert "the weights are gone" in decided().why


def test_under_a_time_budget_another_machine_is_another_result(
    leave: Leave, decided: Decided, job: Job
) -> None:
    leave("ok", num_threads=2)
    assert decided().action == "run"
    by_steps = replace(job, row=job.row.model_copy(update={"budget": "5steps"}))
    assert decided(job=by_steps).action == "reuse"


def test_under_a_time_budget_another_number_of_devices_is_another_result(
    leave: Leave, decided: Decided, job: Job
) -> None:
    leave("ok", num_devices=2)
    assert decided().action == "run"
    by_steps = replace(job, row=job.row.model_copy(update={"budget": "5steps"}))
    assert decided(job=by_steps).action == "reuse"


def test_missing_metrics_are_measured_on_the_trained_weights(
    leave: Leave, decided: Decided
) -> None:
    attempt = leave("ok", MODEL, metrics=())
    decision = decided()
    assert decision.action == "evaluate"
    assert decision.source is not None
    assert decision.source.path == attempt.path


def test_a_metric_that_lacked_weights_is_measured_once_they_are_here(
    leave: Leave, decided: Decided, job: Job
) -> None:
    leave("ok", MODEL, value=None)
    assert decided().action == "reuse"
    here = replace(job, retry=frozenset({"fake_nll"}))
    assert decided(job=here).action == "evaluate"
    leave("ok", MODEL)
    assert decided(job=here).action == "reuse"


def test_a_ladder_that_was_not_climbed_is_climbed_with_the_weights_there_are(
    leave: Leave, decided: Decided, job: Job
) -> None:
    climbing = replace(job, ladder=frozenset({"fake_nll"}))
    leave("ok", MODEL)
    assert decided().action == "reuse"
    decision = decided(job=climbing)
    assert (decision.action, decision.why) == ("evaluate", "to measure fake_nll")
    leave("ok", MODEL, protocol={"rung": "temperature=0.5"})
    assert decided(job=climbing).action == "reuse"
    leave("ok", MODEL, value=None)  # what cannot be had has no rungs either
    assert decided(job=climbing).action == "reuse"


@pytest.mark.parametrize("status", ["timeout", "oom", "diverged", "crashed"])
def test_a_failure_stands_until_it_is_asked_for(
    leave: Leave, decided: Decided, status: AttemptStatus
) -> None:
    leave(status, CHECKPOINT)
    assert decided().action == "leave"
    assert "because" in decided().why
    assert decided("failed").action == "run"


@pytest.mark.parametrize("status", ["timeout", "oom", "crashed"])
def test_a_failure_after_training_is_measured_again_and_not_trained(
    leave: Leave, decided: Decided, status: AttemptStatus
) -> None:
    leave(status, MODEL)
    assert decided().action == "leave"
    assert decided("failed").action == "evaluate"


@pytest.mark.parametrize("status", ["preempted", "killed"])
@pytest.mark.parametrize(
    ("files", "action"), [((), "run"), ((CHECKPOINT,), "resume"), ((MODEL,), "evaluate")]
)
def test_an_interrupted_job_goes_on_where_it_was(
    leave: Leave, decided: Decided, status: AttemptStatus, files: tuple[str, ...], action: str
) -> None:
    leave(status, *files)
    assert decided().action == action


def test_a_later_failure_does_not_hide_an_earlier_result(leave: Leave, decided: Decided) -> None:
    leave("ok")
    leave("crashed")
    assert decided().action == "reuse"


def test_what_cannot_run_is_skipped_with_its_reason(decided: Decided, job: Job) -> None:
    decision = decided(job=replace(job, unsupported="needs images"))
    assert (decision.action, decision.why) == ("skip", "needs images")


@pytest.mark.parametrize(
    ("waited", "rerun", "action"),
    [
        (2.0, "contended", "run"),
        (0.1, "contended", "reuse"),
        (2.0, None, "reuse"),
        (2.0, "stale", "reuse"),
    ],
)
def test_what_waited_for_a_core_runs_again_if_asked_for(
    waited: float, rerun: Rerun | None, action: str, leave: Leave, decided: Decided
) -> None:
    leave("ok", MODEL, charged_s=5.0, run_delay_s=waited)
    assert decided(rerun=rerun).action == action


def cut(record: bytes) -> bytes:
    return record[: len(record) // 2]


def with_a_flipped_bit(record: bytes) -> bytes:
    return record.replace(b'"because"', b'"becausd"')


def of_a_newer_flowbench(record: bytes) -> bytes:
    return record.partition(b',\n "sha256"')[0].replace(b'version": 2', b'version": 3') + b"}"


def with_an_unknown_field(record: bytes) -> bytes:
    return b'{"field": 1,' + record.partition(b',\n "sha256"')[0].removeprefix(b"{") + b"}"


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (cut, "not a record"),
        (lambda _: b"", "not a record"),
        (with_a_flipped_bit, "checksum"),
        (of_a_newer_flowbench, "a record of version 3, this flowbench reads versions up to 2"),
        (with_an_unknown_field, "unknown key 'field'"),
    ],
)
def test_a_record_that_cannot_be_read_is_named_and_its_job_left_alone(
    leave: Leave, decided: Decided, harm: Callable[[bytes], bytes], named: str
) -> None:
    path = leave("ok").path / RECORD
    path.write_bytes(harm(path.read_bytes()))
    harmed = path.read_bytes()
    decision = decided()
    assert (decision.action, decision.source) == ("leave", None)
    assert str(path) in decision.why
    assert named in decision.why
    assert "(--rerun failed)" in decision.why
    assert decided(rerun="failed").action == decided(rerun="all").action == "run"
    assert path.read_bytes() == harmed


def test_a_record_of_version_1_is_read(leave: Leave, decided: Decided) -> None:
    path = leave("ok").path / RECORD
    whole = path.read_bytes()
    path.write_bytes(
        whole.partition(b',\n "sha256"')[0].replace(b'version": 2', b'version": 1') + b"}"
    )
    assert decided().action == "reuse"


@pytest.mark.parametrize("kept", CHECKPOINTS)
def test_either_checkpoint_is_gone_on_from(leave: Leave, decided: Decided, kept: str) -> None:
    attempt = leave("killed", kept)
    decision = decided()
    assert decision.action == "resume"
    assert decision.source is not None
    assert decision.source.path == attempt.path


TRIAL = TrialOrder(sweep="abc", number=0)
MARK = Trial(sweep="abc", number=0)


def test_a_pruned_trial_is_left_and_says_nothing_of_the_job_itself(
    leave: Leave, decided: Decided, job: Job
) -> None:
    leave("pruned", metrics=(), trial=MARK)
    trial = replace(job, trial=TRIAL, metrics=())
    for rerun in (None, "failed", "stale"):
        assert (decided(rerun, trial).action, decided(rerun, trial).why) == (
            "leave", "pruned: because"
        )  # fmt: skip
    assert decided("all", trial).action == "run"
    assert decided(model="other", job=trial).action == "run"
    assert decided().action == "run"


def test_what_a_trial_has_trained_is_measured_where_its_weights_are_there(
    leave: Leave, decided: Decided, job: Job
) -> None:
    attempt = leave("ok", metrics=(), trial=MARK)
    assert decided(None, replace(job, trial=TRIAL, metrics=())).action == "reuse"
    assert decided().action == "run"
    (attempt.path / MODEL).touch()
    assert (decided().action, decided().why) == ("evaluate", "to measure fake_nll")


def test_a_result_that_does_not_tell_of_its_sweep_is_measured_again(
    leave: Leave, decided: Decided, job: Job
) -> None:
    tuning = Tuning(sweep="abc", trials=20)
    leave("ok", MODEL, tuning=Tuning(sweep="abc", trials=10))
    decision = decided(None, replace(job, tuning=tuning))
    assert (decision.action, decision.why) == ("evaluate", "chosen by a sweep of 20 trials")
    leave("ok", MODEL, tuning=tuning.model_copy(update={"charged_s": 1.0}))
    assert decided(None, replace(job, tuning=tuning)).action == "reuse"
    assert decided(None, replace(job, tuning=Tuning())).action == "reuse"
