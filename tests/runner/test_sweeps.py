from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowbench.errors import ConfigError, SuiteError
from flowbench.registry import PluginSelection, Registry
from flowbench.runner import sweeps
from flowbench.runner.attempt import MODEL, ORDER, AttemptDir, ResultsDir, TrialOrder
from flowbench.runner.obituary import bare_record
from flowbench.runner.plan import Job, Swept, plan_all
from flowbench.runner.proposals import Told, propose
from flowbench.runner.run import ReadyRun
from flowbench.runner.sweeps import FEWEST_RIVALS, Sweep, Sweeps
from flowbench.store import queries
from flowbench.store.attempt_files import CURVES, LIKELIHOODS
from flowbench.store.reconcile import readable
from flowbench.store.records import AttemptRow, AttemptStatus, CurvePoint, Trial
from flowbench.suite.schema import Suite
from flowbench.suite.space import Distribution
from tests.runner.test_schedule import Quiet, ready_run

LR = {"fake-gaussian.training.lr": "log(1e-4,1)"}


def swept(registry: Registry, sweep: Mapping[str, Any] = LR, **more: Any) -> Swept:
    asked = {"models": ["fake-gaussian"], "datasets": ["fake-images"], "budget": "20steps"}
    suite = Suite.model_validate({"trials": 6, **asked, **more, "sweep": sweep})
    jobs, _, (found,) = plan_all([suite], registry, Path())
    assert not jobs
    return found


class Attempts:
    """Leaves attempts behind, as workers would."""

    def __init__(self, folder: Path) -> None:
        self.results = ResultsDir(folder)

    def end(
        self, job: Job, score: float | None, status: AttemptStatus = "ok"
    ) -> tuple[Job, AttemptRow, AttemptDir]:
        attempt = self.results.new_attempt(job.row.job_id)
        scores = [] if score is None else [score + 1, score]
        points = [
            CurvePoint(step=i, examples=i, charged_s=i, progress=i / 2 + 0.2, bpd=bpd)
            for i, bpd in enumerate(scores)
        ]
        attempt.write(CURVES, "".join(f"{point.model_dump_json()}\n" for point in points))
        spent = {"charged_s": 2.0, "weights": "raw", "best_step": 1}
        if job.trial is not None:
            spent["trial"] = Trial(sweep=job.trial.sweep, number=job.trial.number)
        record = bare_record(job.row, attempt.number, status, "why").model_copy(update=spent)
        attempt.write_record(record)
        return job, record, attempt


@pytest.fixture
def attempts(tmp_path: Path) -> Attempts:
    return Attempts(tmp_path)


def score_of(job: Job) -> float:
    return abs(float(job.row.overrides["training.lr"]) - 0.03)


def carried_out(sweep: Sweep, attempts: Attempts, *, backwards: bool = False) -> list[Job]:
    """Ends all jobs that a sweep asks for, of several at a time the last first if so wanted."""
    asked: list[Job] = []
    waiting = sweep.ask()
    while waiting:
        asked += waiting
        for job in reversed(waiting) if backwards else waiting:
            sweep.tell(*attempts.end(job, score_of(job)))
        waiting = sweep.ask()
    return asked


def test_the_best_on_validation_is_run_with_all_seeds(
    fake_registry: Registry, attempts: Attempts
) -> None:
    sweep = Sweep(swept(fake_registry, seeds=(3, 4)), at_once=2)
    assert sweep.problem == sweeps.UNFINISHED
    *trials, first, second = carried_out(sweep, attempts)
    assert [job.trial.number for job in trials if job.trial] == list(range(6))
    assert {job.row.seed for job in trials} == {3}
    assert {job.metrics for job in trials} == {()}
    best = min(trials, key=score_of)
    assert (first.row.job_id, first.row.seed, second.row.seed) == (best.row.job_id, 3, 4)
    assert first.row.overrides == second.row.overrides == best.row.overrides
    assert "fake_nll" in first.metrics
    assert first.trial is None
    tuning = first.tuning
    assert tuning is not None
    assert (tuning.trials, tuning.pruned, tuning.failed, tuning.charged_s) == (6, 0, 0, 12.0)
    assert tuning.space == {"training.lr": "log(0.0001,1.0)"}
    assert sweep.problem is None
    assert "best of 6 trials, 12 s in all" in str(sweep)


def test_what_is_tried_hangs_on_the_seed_and_not_on_who_ends_first(
    fake_registry: Registry, tmp_path: Path
) -> None:
    def tried(folder: str, *, backwards: bool = False, **more: Any) -> list[str]:
        sweep = Sweep(swept(fake_registry, trials=16, **more), at_once=3)
        found = carried_out(sweep, Attempts(tmp_path / folder), backwards=backwards)
        return [job.row.settings for job in found]

    assert tried("a") == tried("b", backwards=True)
    assert tried("a") != tried("c", seeds=(1,))


def test_a_sweep_goes_on_from_the_attempts_that_there_are(
    fake_registry: Registry, tmp_path: Path
) -> None:
    searched = swept(fake_registry, trials=14)
    whole = carried_out(Sweep(searched, at_once=2), Attempts(tmp_path / "whole"))
    attempts = Attempts(tmp_path / "cut")
    first = Sweep(searched, at_once=2)
    for _ in range(4):
        for job in first.ask():
            first.tell(*attempts.end(job, score_of(job)))
    begun = sweeps.begun_trials(searched, attempts.results)
    assert sorted(begun) == list(range(8))
    again = Sweep(searched, 2, begun)
    assert [j.row.job_id for j in carried_out(again, attempts)] == [j.row.job_id for j in whole]
    # With another number at a time, and fewer trials than there are: all that was tried counts.
    fewer = Sweep(
        swept(fake_registry, trials=3), 5, sweeps.begun_trials(searched, attempts.results)
    )
    assert len(carried_out(fewer, attempts)) == 15
    assert sweeps.begun_trials(swept(fake_registry, seeds=(1,)), attempts.results) == {}


def test_weights_of_trials_that_lost_are_removed_once_the_best_is_known(
    fake_registry: Registry, attempts: Attempts
) -> None:
    searched = swept(fake_registry, trials=4)
    trials: dict[str, AttemptDir] = {}

    def kept(sweep: Sweep) -> list[str]:
        sweep.drop_lost_weights(attempts.results)
        return [job_id for job_id, trial in trials.items() if (trial.path / MODEL).exists()]

    def end(sweep: Sweep) -> None:
        for job in sweep.ask():
            ended = attempts.end(job, score_of(job))
            trials[job.row.job_id] = ended[2]
            ended[2].write(MODEL, b"weights of a trial")
            sweep.tell(*ended)

    first = Sweep(searched, at_once=2)
    end(first)
    assert len(kept(first)) == 2  # interrupted here, and taken up again
    sweep = Sweep(searched, 2, sweeps.begun_trials(searched, attempts.results))
    again = sweep.ask()
    assert [job.row.job_id for job in again] == list(trials)
    for job in again:
        attempt = trials[job.row.job_id]
        record = attempt.record()
        assert record is not None
        sweep.tell(job, record, attempt)
    end(sweep)
    assert kept(sweep) == list(trials)  # all have ended; the best is not asked for yet
    # A job by itself has trained the same as the first, and another sweep the same as the second.
    others = [attempts.end(replace(job, trial=None), 1.0)[2] for job in again[:1]]
    other = TrialOrder(sweep="another", number=0)
    others += [attempts.end(replace(job, trial=other), 1.0)[2] for job in again[1:]]
    for attempt in others:
        attempt.write(MODEL, b"weights of others")
    (best,) = sweep.ask()
    assert kept(sweep) == [best.row.job_id]
    assert all((attempt.path / MODEL).exists() for attempt in others)
    assert all((trial.path / CURVES).exists() and trial.ended for trial in trials.values())


def test_a_small_space_is_tried_once_and_no_more(
    fake_registry: Registry, attempts: Attempts
) -> None:
    space = {"fake-gaussian.width": "int(3,5)", "fake-gaussian.training.batch_size": [8, 16]}
    sweep = Sweep(swept(fake_registry, space, trials=50), at_once=1)
    waiting, settings = sweep.ask(), []
    while waiting:
        (job,) = waiting
        settings.append(job.row.settings)
        sweep.tell(*attempts.end(job, 1.0))
        waiting = sweep.ask()
    assert len(settings) == 7
    assert len(set(settings[:-1])) == 6
    assert settings[-1] == settings[0]  # of equal ones the first
    assert sweep.to_come == 0


def test_settings_that_a_model_refuses_are_drawn_again(
    fake_registry: Registry, attempts: Attempts
) -> None:
    space = {"fake-gaussian.training.batch_size": "choice(8,0,16)"}
    sweep = Sweep(swept(fake_registry, space, trials=3), at_once=3)
    assert {job.row.config["training"]["batch_size"] for job in sweep.ask()} == {8, 16}
    with pytest.raises(ConfigError, match="unknown key 'lr' of 'fake-gaussian'"):
        Sweep(swept(fake_registry, {"fake-gaussian.lr": "log(1,2)"}), at_once=1).ask()


def test_failures_and_what_was_pruned_count_and_are_not_chosen(
    fake_registry: Registry, attempts: Attempts
) -> None:
    sweep = Sweep(swept(fake_registry, trials=3), at_once=3)
    ends: list[AttemptStatus] = ["diverged", "ok", "pruned"]
    for job, status in zip(sweep.ask(), ends, strict=True):
        sweep.tell(*attempts.end(job, 1.0, status))
    (best,) = sweep.ask()
    assert best.tuning is not None
    assert (best.tuning.trials, best.tuning.pruned, best.tuning.failed) == (3, 1, 1)
    none = Sweep(swept(fake_registry, trials=1), at_once=1)
    (job,) = none.ask()
    none.tell(*attempts.end(job, None, "crashed"))
    assert none.ask() == []
    assert none.problem == "no trial ended well"


def test_a_trial_is_held_against_the_median_of_those_before_it(
    fake_registry: Registry, attempts: Attempts
) -> None:
    sweep = Sweep(swept(fake_registry, trials=FEWEST_RIVALS + 1), at_once=1)
    for number in range(FEWEST_RIVALS):
        (job,) = sweep.ask()
        assert job.trial is not None
        assert job.trial.bounds == ()
        sweep.tell(*attempts.end(job, float(number)))
    (job,) = sweep.ask()
    assert job.trial is not None
    bounds = dict(job.trial.bounds)
    # Their looks are at 20 % (a bit more than at the end) and at 70 %.
    assert bounds[0.2] == bounds[0.65] == 3.0
    assert bounds[0.7] == bounds[0.95] == 2.0
    assert min(bounds) == 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ["fake-gan"], "sweep": {"fake-gan.training.lr": "log(1,2)"}}, "no likelihood"),
        ({"sweep": {"other.lr": "log(1,2)"}}, r"--sweep 'other\.lr' names none of the models"),
    ],
)
def test_what_cannot_be_swept_is_refused(
    fake_registry: Registry, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SuiteError, match=message):
        swept(fake_registry, changes.pop("sweep"), **changes)


def test_optuna_may_be_missing(fake_registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SuiteError, match=r"pip install 'flowbench\[sweep\]'"):
        Sweeps([swept(fake_registry)], 1)


def test_proposals_come_from_their_space_and_lean_towards_what_did_well() -> None:
    texts = {"a": "log(1e-4,1)", "b": "uniform(-1,1)", "c": "int(2,4)", "d": "choice(x,1,true)"}
    space = {name: Distribution.model_validate(text) for name, text in texts.items()}
    told: list[Told] = []
    for number in range(30):
        values = propose(space, told, seed=(0, number))
        assert 1e-4 <= values["a"] <= 1
        assert len(f"{values['a']:g}".replace("0.", "").lstrip("0")) <= 7
        assert -1 <= values["b"] <= 1
        assert values["c"] in (2, 3, 4)
        assert any(values["d"] is one or values["d"] == "x" for one in (1, True))
        told.append(Told(values=values, score=abs(values["b"] - 0.5)))
    late, early = ([abs(t.values["b"] - 0.5) for t in some] for some in (told[-10:], told[:10]))
    assert sum(late) < sum(early)


# --- in workers -----------------------------------------------------------------------------------


@pytest.fixture
def few_rivals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "FEWEST_RIVALS", 2)


SEARCH: dict[str, Any] = {
    "models": ("fake-gaussian",),
    # Six settings of which some are so slow that they cannot keep up.
    "sweep": {"fake-gaussian.training.lr": [0.1, 0.05, 0.08, 1e-7, 1e-8, 1e-6]},
    "trials": 6,
    "seeds": (0, 1),
    "metrics": ("fake_nll",),
}


def carry_out(ready: ReadyRun, most: int | None = None) -> list[tuple[Job, AttemptRow]]:
    """Runs jobs; interrupted once so many have ended."""
    ended: list[tuple[Job, AttemptRow]] = []

    class Watcher(Quiet):
        def ended(self, job: Job, record: AttemptRow) -> None:
            ended.append((job, record))
            if len(ended) == most:
                scheduler.interrupt()

    scheduler = ready.scheduler(Watcher())
    try:
        scheduler.run(ready.decisions)
    except KeyboardInterrupt:
        assert most is not None
    return ended


def told_of(ready: ReadyRun) -> Iterator[tuple[str, int, str, float | None]]:
    for attempt in queries.list_attempts(ready.results.path):
        if trial := attempt["trial"]:
            yield attempt["job_id"], trial["number"], attempt["status"], trial["value"]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("few_rivals")
def test_a_sweep_is_pruned_resumed_and_ends_in_a_row_that_counts_it(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path
) -> None:
    def ready(name: str, **more: Any) -> ReadyRun:
        return ready_run(tmp_path / name, fake_registry, fake_plugins, **SEARCH | more)

    whole = carry_out(ready("whole"))
    assert len(whole) == 8
    assert {job.trial is None for job, _ in whole[:6]} == {False}
    trials = [record for job, record in whole if job.trial is not None]
    assert {record.status for record in trials} == {"ok", "pruned"}
    assert all(not record.measurements and record.tuning is None for record in trials)
    pruned = [record for record in trials if record.status == "pruned"]
    assert all("behind" in (r.reason or "") and 0 < r.steps < 20 for r in pruned)
    for record in trials:
        (attempt, *_) = ResultsDir(tmp_path / "whole").attempts(record.job.job_id)
        assert (attempt.path / CURVES).exists()
        assert not (attempt.path / LIKELIHOODS).exists()
    (first, one), (second, two) = sorted(whole[6:], key=lambda ended: ended[0].row.seed)
    assert one.status == two.status == "ok"
    assert (first.row.seed, second.row.seed) == (0, 1)
    assert one.tuning is not None
    assert one.tuning.trials == 6
    assert one.tuning.pruned == len(pruned)
    assert one.tuning.charged_s == pytest.approx(sum(record.charged_s for record in trials))
    assert one.number == 2  # the first is the trial, whose weights are measured
    _, best = min(
        (r.trial.value, r.job.overrides["training.lr"])
        for r in trials
        if r.trial is not None and r.trial.value is not None
    )
    assert one.job.overrides["training.lr"] == best
    runs = tmp_path / "whole" / "runs"
    kept = {path.parent.relative_to(runs).as_posix() for path in runs.glob(f"*/*/{MODEL}")}
    # The best trial's, and those of the jobs that are measured.
    assert kept == {f"{one.job.job_id}/1", f"{one.job.job_id}/2", f"{two.job.job_id}/1"}
    # Again: nothing is run.
    again = ready("whole")
    assert not again.starting
    assert again.sweeps.problems == []
    assert {d.action for _, d in again.decisions} == {"reuse", "leave"}

    # Measured again without the sweep, its row does not forget it.
    plain = {"sweep": {}, "overrides": {"fake-gaussian.training.lr": best}}
    more = carry_out(ready("whole", **plain, metrics=("fake_nll", "fake_spread")))
    assert [record.tuning for _, record in more] == [one.tuning] * 2

    assert len(carry_out(ready("cut"), most=3)) >= 3
    left = ready("cut")
    assert left.sweeps.problems
    carry_out(left)
    found, expected = sorted(told_of(left)), sorted(told_of(again))
    ends = {(job, number, status, value) for job, number, status, value in found}
    assert ends - set(expected) == {e for e in ends if e[2] == "preempted"}
    assert set(expected) <= ends


@pytest.mark.slow
@pytest.mark.usefixtures("few_rivals")
def test_a_pruned_trial_is_run_when_it_is_asked_for_by_itself(
    fake_registry: Registry, fake_plugins: PluginSelection, tmp_path: Path
) -> None:
    carry_out(ready_run(tmp_path, fake_registry, fake_plugins, **SEARCH))
    with readable(tmp_path) as folder:
        listed = queries.list_attempts(folder)
    lr = next(a["overrides"]["training.lr"] for a in listed if a["status"] == "pruned")
    plain: dict[str, Any] = {"models": ("fake-gaussian",), "metrics": ("fake_nll",)}
    ready = ready_run(
        tmp_path, fake_registry, fake_plugins, **plain,
        overrides={"fake-gaussian.training.lr": lr},
    )  # fmt: skip
    ((_, decision),) = ready.decisions
    assert (decision.action, decision.why) == ("run", "not run yet")
    ((_, record),) = carry_out(ready)
    assert record.status == "ok"
    assert record.measurements
    order = AttemptDir(tmp_path / "runs" / record.job.job_id / str(record.number) / ORDER).path
    assert order.exists()


@pytest.mark.parametrize(
    ("given", "best"),
    [
        ({"bpd": 2.0, "bpd_ema": 1.0}, (1.0, "bits/dim")),
        ({"nll": 2.0}, (2.0, "nats")),
        ({"info": {"validation_loss/raw": 3.0, "validation_loss/ema": 4.0}}, (3.0, "loss")),
        ({"info": {"gradient_norm": 3.0}}, None),
    ],
)
def test_a_look_is_worth_the_better_of_its_scores(
    given: dict[str, Any], best: tuple[float, str] | None
) -> None:
    assert CurvePoint(step=0, examples=0, charged_s=0, progress=0, **given).best == best
