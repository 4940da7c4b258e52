"""Sweeps: settings of a model that are searched on validation, a job for each trial.

A sweep is asked for jobs and told their records; it keeps nothing on disk. What it knows after an
interruption it reads from the attempts, which say of which sweep they are which trial.

A trial is proposed from those before it, but for the last few, which may run at the same time:
which these are hangs on the number of jobs at a time alone, and never on which of them ends first.
It is given up where its best value lies behind the median of theirs at the same part of the budget.

References:
    Golovin et al. (2017), Google Vizier: a service for black-box optimization, KDD, section 3.2.2.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from flowbench.errors import ConfigError, StoreError
from flowbench.runner.attempt import MODEL, AttemptDir, ResultsDir, TrialOrder, canonical_json
from flowbench.runner.plan import HASH_DIGITS, Job, Swept
from flowbench.runner.proposals import Told, load_optuna, propose
from flowbench.store.attempt_files import CURVES, read_curves
from flowbench.store.records import (
    AttemptRow,
    CurvePoint,
    JobRow,
    Tuning,
    assigned,
    value_of_kept,
)
from flowbench.training.looks import VALIDATE_AT, place_of

FEWEST_RIVALS = 5  # trials that ended well, before one is held against their median
PRUNE_FROM = 0.2  # of the budget: before, warm-up and chance say more than the setting
MOST_DRAWS = 50  # for settings that were not tried before
UNFINISHED = "trials are missing; run the same command again"


@dataclass
class _Trial:
    """A trial, and what it came to."""

    values: Mapping[str, Any]
    job: Job
    record: AttemptRow | None = None
    told: Told | None = None
    unit: str | None = None


class Sweep:
    """The search of one model's settings on one dataset.

    Args:
        swept: What is searched.
        at_once: How many trials may run at the same time.
        begun: Settings of trials that there are attempts at, by number.
    """

    def __init__(
        self, swept: Swept, at_once: int, begun: Mapping[int, Mapping[str, Any]] | None = None
    ) -> None:
        self._swept, self._at_once, self._begun = swept, at_once, dict(begun or {})
        self.id = sweep_id(swept)
        # What was tried went into the choice, whatever is asked for now.
        self._num_trials = max(swept.num_trials, max(self._begun, default=-1) + 1)
        self._trials: list[_Trial] = []
        self._best_asked = self._dropped = False

    def ask(self) -> list[Job]:
        """The jobs that can be run now, each once: trials, and at last the best with all seeds.

        Raises:
            ConfigError: No settings can be had from the space.
        """
        jobs = []
        while len(self._trials) < self._num_trials and (known := self._known()) is not None:
            if (trial := self._next(known)) is None:  # all that there is was tried
                self._num_trials = len(self._trials)
                break
            self._trials.append(trial)
            jobs.append(trial.job)
        if self._is_over and self.best is not None and not self._best_asked:
            self._best_asked = True
            jobs += self._best_jobs()
        return jobs

    def tell(self, job: Job, record: AttemptRow, attempt: AttemptDir | None) -> None:
        """Takes what a trial came to; what is told again, or is no trial of it, changes nothing."""
        if job.trial is None or job.trial.sweep != self.id:
            return
        trial = self._trials[job.trial.number]
        if trial.told is not None:
            return
        points: Sequence[CurvePoint] = ()
        if attempt is not None:
            try:
                points = read_curves(attempt.path / CURVES)
            except (OSError, ValueError):  # it had none, or it is damaged: nothing to go by
                points = ()
        kept = None
        if record.status == "ok":
            kept = value_of_kept(points, record.weights, record.best_step)
        score, trial.unit = (None, None) if kept is None else kept
        curve = _by_place(points) if record.status in ("ok", "pruned") else {}
        trial.record = record
        trial.told = Told(values=trial.values, score=score, curve=curve)

    def drop_lost_weights(self, results: ResultsDir) -> None:
        """Removes the weights of trials that are not the best, once that was asked for.

        Records and curves stay, which is all that a sweep knows of them. Weights that the same
        settings have from elsewhere stay too: of another sweep, or of a job by itself.
        """
        if self._dropped or not self._best_asked:
            return
        self._dropped = True
        lost = [trial.job.row.job_id for trial in self._trials if trial is not self.best]
        for attempt in (attempt for job_id in lost for attempt in results.attempts(job_id)):
            if (found := _trial_of(attempt)) is not None and found[0] == self.id:
                with contextlib.suppress(OSError):  # it takes room, and does no harm
                    (attempt.path / MODEL).unlink(missing_ok=True)

    @property
    def to_come(self) -> int:
        """How many jobs follow those that were asked for, at most."""
        final = 0 if self._best_asked else len(self._swept.seeds)
        return self._num_trials - len(self._trials) + final

    @property
    def budget(self) -> str:
        """Canonical text of the budget of each job."""
        return self._swept.base.row.budget

    @property
    def best(self) -> _Trial | None:
        """The trial with the best value; of equal ones the first."""
        scored = [t for t in self._trials if t.told is not None and t.told.score is not None]
        return min(scored, key=lambda t: t.told.score, default=None)  # type: ignore

    @property
    def problem(self) -> str | None:
        """Why the best is not known; None if it is."""
        if self._is_over:
            return None if self.best is not None else "no trial ended well"
        return UNFINISHED

    @property
    def label(self) -> str:
        """What is searched, in few words."""
        row = self._swept.base.row
        return f"sweep of {row.configured} on {row.dataset}"

    def __str__(self) -> str:
        """What it is to do, or what it came to."""
        if self._trials and self._is_over and (best := self.best) is not None:
            spent = self._tuning()
            ends = [
                f"{n} {how}" for how, n in (("pruned", spent.pruned), ("failed", spent.failed)) if n
            ]
            parts = f" ({', '.join(ends)})" if ends else ""
            score = best.told.score if best.told else 0.0
            return (
                f"{self.label}: best of {spent.trials} trials{parts}, {spent.charged_s:.0f} s in "
                f"all: {assigned(best.values)}, {score:.4f} {best.unit} on validation"
            )
        space = ", ".join(f"{key}={drawn}" for key, drawn in self._swept.space.items())
        seeds = len(self._swept.seeds)
        return (
            f"{self.label}: {self._num_trials} trials of {space}; then the best on validation, "
            f"with {seeds} seed{'s' * (seeds > 1)}"
        )

    @property
    def _is_over(self) -> bool:
        return len(self._trials) >= self._num_trials and all(t.told for t in self._trials)

    def _known(self) -> list[_Trial] | None:
        """The trials that the next one is proposed from; None while one of them is not told."""
        known = self._trials[: max(0, len(self._trials) - self._at_once + 1)]
        return known if all(trial.told for trial in known) else None

    def _next(self, known: Sequence[_Trial]) -> _Trial | None:
        """The next trial; None if settings that were not tried cannot be found."""
        number, seed = len(self._trials), self._swept.base.row.seed
        tried = {trial.job.row.job_id for trial in self._trials}
        told = [trial.told for trial in known if trial.told is not None]
        refused: ConfigError | None = None
        for draw in range(MOST_DRAWS):
            values = self._begun.get(number) or propose(
                self._swept.space, told, seed=(seed, number, draw), at_random=draw > 0
            )
            try:
                job = self._swept.job(values, seed)
            except ConfigError as exc:
                refused = refused or exc
                continue
            if job.unsupported is not None:
                refused = refused or ConfigError(f"{assigned(values)}: {job.unsupported}")
            elif job.row.job_id not in tried:
                order = TrialOrder(sweep=self.id, number=number, **_bounds(told))
                # Nothing is measured of it but what training itself looks at.
                bare = replace(job, metrics=(), retry=frozenset(), ladder=frozenset(), tuning=None)
                return _Trial(values, replace(bare, trial=order))
            self._begun.pop(number, None)
        if refused is not None and not self._trials:
            raise refused
        return None

    def _best_jobs(self) -> Iterator[Job]:
        tuning = self._tuning()
        if self.best is not None:
            for seed in self._swept.seeds:
                yield replace(self._swept.job(self.best.values, seed), tuning=tuning)

    def _tuning(self) -> Tuning:
        """What the search took."""
        records = [trial.record for trial in self._trials if trial.record is not None]
        pruned = sum(record.status == "pruned" for record in records)
        before = self._swept.base.tuning or Tuning()
        return before.model_copy(
            update={
                "sweep": self.id,
                "space": {key: str(drawn) for key, drawn in self._swept.space.items()},
                "trials": len(records),
                "pruned": pruned,
                "failed": sum(record.status not in ("ok", "pruned") for record in records),
                "charged_s": sum(record.charged_s for record in records),
            }
        )


class Sweeps:
    """All sweeps of a run.

    Args:
        swept: What is searched.
        at_once: How many trials of each may run at the same time.
        results: Where attempts at earlier trials are.

    Raises:
        SuiteError: There are some, and Optuna is not installed.
    """

    def __init__(
        self, swept: Sequence[Swept] = (), at_once: int = 1, results: ResultsDir | None = None
    ) -> None:
        if swept:
            load_optuna()  # before anything starts: one that is not installed is told at once
        self._results = results
        self.all = [
            Sweep(one, at_once, begun_trials(one, results) if results else None) for one in swept
        ]

    @property
    def to_come(self) -> int:
        """How many jobs follow those that were asked for, at most."""
        return sum(sweep.to_come for sweep in self.all)

    def ask(self) -> list[Job]:
        """The jobs that all of them can have run now."""
        return [job for sweep in self.all for job in sweep.ask()]

    def follow(self, job: Job, record: AttemptRow, attempt: AttemptDir | None) -> list[Job]:
        """The jobs that can be run after one has ended."""
        if job.trial is None:
            return []
        for sweep in self.all:
            sweep.tell(job, record, attempt)
        return self.ask()

    def drop_lost_weights(self) -> None:
        """Removes the weights of trials that are not the best, of sweeps whose best is known."""
        if self._results is not None:
            for sweep in self.all:
                sweep.drop_lost_weights(self._results)

    @property
    def problems(self) -> list[str]:
        """Which of them did not come to their end, and why."""
        return [f"{sweep.label}: {why}" for sweep in self.all if (why := sweep.problem)]


def sweep_id(swept: Swept) -> str:
    """An id that is equal for equal searches by the same code, however many trials are asked."""
    base = swept.base
    asked = {
        "job": base.row.job_id,
        "space": {key: str(drawn) for key, drawn in swept.space.items()},
        "code": [base.code.model, base.code.dataset],
    }
    return hashlib.sha256(canonical_json(asked).encode()).hexdigest()[:HASH_DIGITS]


def begun_trials(swept: Swept, results: ResultsDir) -> dict[int, dict[str, Any]]:
    """Settings of the trials that there are attempts at, by number."""
    row, wanted = swept.base.row, sweep_id(swept)
    begun: dict[int, dict[str, Any]] = {}
    for folder in sorted(results.runs.glob(f"{row.job_id.rpartition('-')[0]}-*")):
        for attempt in results.attempts(folder.name):
            found = _trial_of(attempt)
            if found is not None and found[0] == wanted:
                of_trial = found[2].overrides
                if swept.space.keys() <= of_trial.keys():
                    begun[found[1]] = {key: of_trial[key] for key in swept.space}
    return begun


def _trial_of(attempt: AttemptDir) -> tuple[str, int, JobRow] | None:
    """Sweep, number and job of an attempt at a trial; None of all else."""
    try:
        if (record := attempt.record()) is not None:
            trial = record.trial
            return None if trial is None else (trial.sweep, trial.number, record.job)
        order = attempt.order()
    except (StoreError, OSError, ValueError):  # what cannot be read says nothing
        return None
    return None if order.trial is None else (order.trial.sweep, order.trial.number, order.job)


def _by_place(points: Sequence[CurvePoint]) -> dict[float, float]:
    """The best value so far at each place where validation is looked at, as far as a curve goes."""
    best: dict[float, float] = {}
    lowest = float("inf")
    for point in points:
        if point.best is not None:
            lowest = min(lowest, point.best[0])
            best[place_of(point.progress)] = lowest
    return best


def _bounds(told: Sequence[Told]) -> dict[str, Any]:
    """By when which value is to be reached: the median of trials that ended well."""
    rivals = [one.curve for one in told if one.score is not None and one.curve]
    if len(rivals) < FEWEST_RIVALS:
        return {}
    places = [at for at in VALIDATE_AT if PRUNE_FROM <= at < 1.0]
    bests = {at: [_until(curve, at) for curve in rivals] for at in places}
    bounds = tuple((at, median(some)) for at, some in bests.items())
    return {"bounds": bounds, "num_rivals": len(rivals)}


def _until(curve: Mapping[float, float], at: float) -> float:
    """The best value up to a place."""
    return min((value for place, value in curve.items() if place <= at), default=float("inf"))
