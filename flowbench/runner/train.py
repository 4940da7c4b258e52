"""Training of a job: from the start, from a checkpoint, or taken over once it is complete."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from flowbench.api.models import GenerativeModel
from flowbench.api.units import bits_per_dim
from flowbench.budget import Budget
from flowbench.data.batches import TrainBatches
from flowbench.errors import StoreError, printable
from flowbench.evaluation.harness import likelihood_kind
from flowbench.evaluation.trained import TrainingCost
from flowbench.runner.attempt import CHECKPOINTS, MODEL, AttemptDir, TrialOrder
from flowbench.runner.kept_model import COUNTS, Trained, keep_model, take_model
from flowbench.runner.setup import Built, Ground
from flowbench.runner.under_way import Attempt
from flowbench.store.attempt_files import CURVES, read_curves
from flowbench.store.records import CurvePoint, Trial, value_of_kept
from flowbench.training.checkpoint import load_checkpoint, save_checkpoint
from flowbench.training.choice import Validate
from flowbench.training.looks import place_of
from flowbench.training.loop import Trainer
from flowbench.training.observer import Observer, Pruned, Unwatched, ValidationPoint
from flowbench.training.ranks import Ranks

CHECKPOINT_EVERY_S = 300.0


def train(attempt: Attempt, ground: Ground, built: Built) -> Trained:
    """Trains the model, keeps its weights, and leaves it in eval mode with the chosen ones.

    Args:
        ground: What the job stands on.

    Returns:
        How the training ended.

    Raises:
        Preempted: It was asked to stop; its state is kept.
        Pruned: It is a trial of a sweep, and lies behind others.
        NonFiniteLossError: It diverged.
    """
    source = attempt.source
    if source is not None and (source.path / MODEL).exists():
        try:
            return _take_over(attempt, built, source)
        except StoreError as exc:  # damaged: what is left of its training, or a new one
            attempt.complain(str(exc))
    attempt.note(num_devices=attempt.order.num_devices)
    scored = likelihood_kind(built.model) is not None
    by_loss = built.model.config.training.select == "loss"
    with attempt.together(ground.device.kind) as ranks:
        with attempt.clock.timing("setup"):
            trainer = _trainer(
                attempt,
                ground,
                built,
                ranks,
                Watch(attempt, built),
                validate=_validate(attempt, ground, built) if scored else None,
                validation_loss=built.harness.loss if by_loss else None,
            )
        if source is not None:
            _take_up(attempt, trainer, source)
        attempt.now("training")
        ground.device.reset_peak_memory()  # a resumed attempt reports its own peak
        try:
            trainer.run()
        finally:  # a training that fails is recorded with the steps that it had done
            attempt.pulse.step = trainer.num_steps  # ticks come before steps: the last has none
            attempt.note(
                steps=trainer.num_steps,
                examples=trainer.num_examples,
                skipped_steps=trainer.num_skipped,
                looks=_looks(built, trainer),
            )
    return _keep(attempt, ground, built, trainer, ranks.num)


def follow(attempt: Attempt, ground: Ground, built: Built, ranks: Ranks) -> None:
    """Does the steps of a training whose worker is another process."""
    trainer = _trainer(attempt, ground, built, ranks, Unwatched())
    if attempt.source is not None:
        _take_up(attempt, trainer, attempt.source)
    trainer.run()


def _trainer(
    attempt: Attempt,
    ground: Ground,
    built: Built,
    ranks: Ranks,
    observer: Observer,
    validate: Validate | None = None,
    validation_loss: Validate | None = None,
) -> Trainer:
    training, device, seed = built.model.config.training, ground.device, attempt.job.seed
    batches = TrainBatches(
        ground.data.splits.train,
        training.batch_size,
        seed,
        device.torch_device,
        training.augment,
        room=device.room(),
        segments=built.harness.segments,
    )
    if batches.num_too_short:
        attempt.note(data={**attempt.known["data"], "too_short": batches.num_too_short})
        print(
            f"{batches.num_too_short:,} of {len(ground.data.splits.train):,} training examples are "
            "shorter than a segment and left out",
            file=sys.stderr,
        )
    return Trainer(
        built.model,
        built.harness.preprocessor,
        batches.of_seed,
        budget=Budget.parse(attempt.job.budget),
        clock=attempt.clock,
        device=device,
        seed=seed,
        validate=validate,
        validation_loss=validation_loss,
        observer=observer,
        ranks=ranks,
        log_density=built.harness.target,
    )


def note_trial(attempt: Attempt, trained: Trained) -> None:
    """Notes what a trial of a sweep came to on validation."""
    order = attempt.order.trial
    if order is not None:
        points = read_curves(attempt.directory.path / CURVES)
        kept = value_of_kept(points, trained.weights, trained.best_step)
        value, unit = (None, None) if kept is None else kept
        trial = Trial(sweep=order.sweep, number=order.number, value=value, unit=unit)
        attempt.note(trial=trial)


def _validate(attempt: Attempt, ground: Ground, built: Built) -> Validate:
    """Scores weights on validation."""
    if attempt.order.trial is not None:  # nothing follows that could be foreseen
        return built.harness.score
    return _foreseeing(attempt, ground, built)


def _foreseeing(attempt: Attempt, ground: Ground, built: Built) -> Validate:
    """Scores weights on validation, and says in the heartbeat what the test split will take.

    That is every example, with every draw of the protocol: the passes of a look many times over.
    """
    harness, model, clock = built.harness, built.model, attempt.clock
    attempt.pulse.evaluation_draws = harness.draws(model, "test")
    times = harness.tests_per_look(model)
    needs = [ground.registry.metric(name).spec.needs for name in attempt.order.metrics]
    if any({"likelihood", "label"} <= need for need in needs):
        times *= 1 + len(model.config.also_given(model.data))

    def score(weights: GenerativeModel, part: float) -> float:
        before = clock.ledger()["eval"]
        found = harness.score(weights, part)
        attempt.pulse.evaluation_s = times * (clock.ledger()["eval"] - before) / part
        return found

    return score


def _take_up(attempt: Attempt, trainer: Trainer, source: AttemptDir) -> None:
    """Goes on from the checkpoint of an earlier attempt, or the one before; else begins anew."""
    for name in CHECKPOINTS:
        path = source.path / name
        if not path.exists():
            continue
        try:
            with attempt.clock.timing("checkpoint"):
                state = load_checkpoint(path)
        except StoreError as exc:
            attempt.complain(str(exc))
            continue
        _trained_by(attempt, source)
        trainer.load_state_dict(state)
        # Each attempt has its whole curve: the one that it goes on from may be removed.
        with contextlib.suppress(FileNotFoundError, ValueError):
            # Looks after the checkpoint are taken again.
            points = read_curves(source.path / CURVES)
            lines = [
                p.model_dump_json(exclude_none=True) for p in points if p.step <= trainer.num_steps
            ]
            attempt.directory.write(CURVES, "\n".join([*lines, ""]))
        return


def _keep(
    attempt: Attempt, ground: Ground, built: Built, trainer: Trainer, num_devices: int
) -> Trained:
    """Chooses among the weights of a training, and keeps them with what they cost."""
    weights, best_step = trainer.load_best()
    cost = TrainingCost(
        device_name=ground.device.name,
        device_kind=ground.device.kind,
        num_devices=num_devices,
        ledger=attempt.clock.ledger(),
        charged_s=attempt.clock.charged_s,
        run_delay_s=attempt.clock.run_delay.seconds,
        peak_memory=ground.device.peak_memory(),
    )
    trained = Trained(
        weights=weights,
        best_step=best_step,
        steps=trainer.num_steps,
        examples=trainer.num_examples,
        skipped_steps=trainer.num_skipped,
        cost=cost,
    )
    attempt.note(weights=weights, best_step=best_step)
    with attempt.clock.timing("checkpoint"):
        path = attempt.directory.path / MODEL
        # Before anything is measured: an evaluation that fails can then be repeated without
        # training.
        keep_model(path, built.model, built.harness.preprocessor, trained)
    built.model.eval()
    return trained


def _take_over(attempt: Attempt, built: Built, source: AttemptDir) -> Trained:
    """Goes on with the weights of an earlier attempt, whose training is charged to this one."""
    with attempt.clock.timing("checkpoint"):
        trained = take_model(source.path / MODEL, built.model, built.harness.preprocessor)
        for name in (MODEL, CURVES):
            if (source.path / name).exists():
                shutil.copyfile(source.path / name, attempt.directory.path / name)
    _trained_by(attempt, source)
    cost = trained.cost
    attempt.clock.carry(
        cost.ledger, cost.run_delay_s
    )  # or the record would say that training was free
    attempt.note(**{name: getattr(trained, name) for name in COUNTS}, num_devices=cost.num_devices)
    return trained


def _looks(built: Built, trainer: Trainer) -> dict[str, Any]:
    """How validation was looked at, for the record."""
    return {
        "examples": len(built.harness.looked_at(trainer.looks.part)),
        "of": len(built.harness.splits["validation"]),
        "num": trainer.looks.num,
        "seconds": round(trainer.looks.spent_s, 3),
        "averaged_alone": trainer.looks.averaged_alone,
        "selected_by": trainer.choice.selected_by,
    }


def _trained_by(attempt: Attempt, source: AttemptDir) -> None:
    """Notes the core that began the training: what goes on from it is no younger."""
    record = source.record()
    if attempt.code is not None and record is not None and record.core_code is not None:
        attempt.runs(attempt.code.model_copy(update={"core": record.core_code}))


class Watch:
    """The training loop's observer: heartbeat, learning curve and checkpoints."""

    def __init__(self, attempt: Attempt, built: Built) -> None:
        self._attempt = attempt
        self._num_dims, self._ragged = built.model.data.num_dims, built.model.data.ragged
        kind = likelihood_kind(built.model)
        # The density of real-valued or of noisy data has no bits per dimension.
        self._unit = "bpd" if kind is not None and kind.measure == "discrete" else "nll"
        # A dimension of text is a character.
        self._said = "bpc" if built.model.data.modality == "sequence" else "bpd"
        self._next_save = time.monotonic() + CHECKPOINT_EVERY_S

    def tick(self, step: int, progress: float) -> bool:
        """Passes on where training stands; True asks it to stop."""
        pulse = self._attempt.pulse
        pulse.step, pulse.progress = step, progress
        return self._attempt.asked_to_stop()

    def validated(self, point: ValidationPoint) -> None:
        """Adds a point to the learning curve."""
        scores = {self._unit: self._score(point.raw), f"{self._unit}_ema": self._score(point.ema)}
        known = [score for score in scores.values() if score is not None]
        pulse = self._attempt.pulse
        pulse.score = min(known, default=None)
        pulse.score_unit = self._said if known and self._unit == "bpd" else "nats"
        loss = point.loss if point.loss is not None and np.isfinite(point.loss) else None
        row = CurvePoint(
            step=point.step,
            examples=point.examples,
            charged_s=point.charged_s,
            progress=point.progress,
            loss=loss,
            info={printable(n): v for n, v in point.info.items() if np.isfinite(v)} or None,
            **scores,
        )
        path = self._attempt.directory.path / CURVES
        # Written anew with a line more, because an append can be cut in its middle.
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        # A checkpoint is made before the look at its step, which is taken again then.
        if lines and CurvePoint.model_validate_json(lines[-1]).step == row.step:
            lines.pop()
        lines.append(row.model_dump_json(exclude_none=True))
        self._attempt.directory.write(CURVES, "\n".join([*lines, ""]))
        if (trial := self._attempt.order.trial) is not None:
            self._give_up_if_behind(trial, read_curves(path))

    def _give_up_if_behind(self, trial: TrialOrder, points: Sequence[CurvePoint]) -> None:
        """Ends a trial of a sweep that lies behind others at the same part of the budget.

        Raises:
            Pruned: It does.
        """
        now = points[-1]
        bound = dict(trial.bounds).get(place_of(now.progress))
        best = min((point.best for point in points if point.best), default=None)
        if bound is None or best is None or best[0] <= bound:
            return
        # The end is no place to save anything.
        if now.progress < 1.0:
            raise Pruned(
                f"at {100 * now.progress:.0f} % of its budget {best[0]:.4g} {best[1]} on "
                f"validation, behind {bound:.4g}, the median of {trial.num_rivals} trials there"
            )

    def checkpoint_due(self) -> bool:
        """Whether the last checkpoint is old enough."""
        return time.monotonic() >= self._next_save

    def save(self, state: dict[str, Any]) -> None:
        """Writes the resumable state."""
        last, spare = (self._attempt.directory.path / name for name in CHECKPOINTS)
        save_checkpoint(last, state, spare=spare)
        self._next_save = time.monotonic() + CHECKPOINT_EVERY_S

    def _score(self, nats: float | None) -> float | None:
        if nats is None or not np.isfinite(nats):
            return None
        if self._unit == "bpd":
            return bits_per_dim(-nats, self._num_dims)
        return nats / self._num_dims if self._ragged else nats
