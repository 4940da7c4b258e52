"""The one training loop.

Everything that a job needs while it trains goes through here: budget, clock, schedules, averaged
weights, validation, checkpoints. The loop waits for the device only where it must: at most two
steps are in flight, and whether a gradient was finite is decided on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowbench.api.models import Batch, GenerativeModel, PhaseStart, Step, split_info
from flowbench.api.training import Training
from flowbench.budget import Budget, Spent
from flowbench.data.batches import TrainBatches
from flowbench.data.preprocess import Preprocessor
from flowbench.errors import ConfigError, NonFiniteLossError, StoreError
from flowbench.training.accumulate import parts_of, whole_batch
from flowbench.training.checkpoint import rng_state, set_rng_state
from flowbench.training.choice import Choice, Validate, Weights
from flowbench.training.clock import Clock
from flowbench.training.compiled import compiled_loss
from flowbench.training.device import DelayedFlag, Device, InFlight
from flowbench.training.graphed import GRAPHS, GraphedStep, Inputs, RecordedStep, check_graph
from flowbench.training.looks import Looks
from flowbench.training.monitor import EXAMPLES, Monitor
from flowbench.training.observer import Observer, Preempted, ValidationPoint
from flowbench.training.optim import GuardedStep, Schedule
from flowbench.training.ranks import ALONE, Ranks
from flowbench.training.refit import Refit

CHECKPOINT_FORMAT = 7
MONITOR_SEED = 7  # which examples are watched: the same in every job


@dataclass(frozen=True)
class _Done:
    """What a step of an optimizer group gives, on the device.

    Attributes:
        loss: Of the whole batch, shape ().
        bad: 1 if it or the gradient was not finite, else 0; shape ().
        norm: Of the gradient, shape ().
        info: The model's diagnostics, of each part of the batch: their means, shape ().
    """

    loss: Tensor
    bad: Tensor
    norm: Tensor
    info: tuple[tuple[str, Tensor], ...]


class _BudgetUsed(Exception):
    """The budget ended while a phase was begun."""


def _refuse_other_groups(training: Training, groups: list[str]) -> None:
    named = {*training.groups, *(g for phase in training.phases for g in phase.groups or ())}
    if other := sorted(named - {*groups}):
        raise ConfigError(
            f"training names optimizer groups that the model does not have: {', '.join(other)}; "
            f"expected some of: {', '.join(groups) or 'none'}"
        )


def _host_seed(seed: int, *at: int) -> int:
    """Seed of a step's draws on the host: a function of both, so a resumed run has the same."""
    return int(np.random.SeedSequence((seed, *at)).generate_state(1)[0])


class Trainer:
    """Trains one model under one budget.

    Args:
        model: The model, initialised and on its device.
        preprocessor: The harness's preprocessing, fitted.
        stream: Makes the endless stream of raw training batches of a seed.
        clock: The ledger; the caller has charged what went before.
        seed: Seed of batches and noise.
        validate: Scores a model on the validation split, lower is better; None where the model has
            no likelihood.
        validation_loss: The loss on validation, where weights are selected by that.
        ranks: The processes that train the model together.
        log_density: The target in the model's space; None for data.

    Raises:
        ConfigError: Batches of the model cannot be taken in parts, it has no such optimizer groups,
            or its step is no graph, as its training asks.
    """

    def __init__(
        self,
        model: GenerativeModel,
        preprocessor: Preprocessor,
        stream: Callable[[int], TrainBatches],
        *,
        budget: Budget,
        clock: Clock,
        device: Device,
        seed: int,
        validate: Validate | None,
        observer: Observer,
        validation_loss: Validate | None = None,
        ranks: Ranks = ALONE,
        log_density: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        training = model.config.training
        if training.accumulate > 1 and (reason := whole_batch(model)) is not None:
            raise ConfigError(
                f"training.accumulate is {training.accumulate}, but the batch has to go through "
                f"the model whole: {reason}; leave it at 1"
            )
        self.model = model
        refit = Refit(preprocessor, stream, device)
        self.choice = Choice(model, refit, validate, device, validation_loss)
        self.num_steps = 0
        self._preprocessor = preprocessor
        self._stream, self._ranks = stream, ranks
        self._batches = ranks.part_of(stream(seed), training.accumulate)
        self._phases_begun = 0
        self._budget, self._clock, self._device = budget, clock, device
        self._observer = observer
        self._log_density = log_density
        # Where nothing is scored, nobody looks at curves either.
        self._monitor = Monitor(model if validate is not None else None)
        self._watched_batch: Batch | None = None
        self._training = training
        # Known beforehand under a budget that counts; under one of time it is 0.
        self._schedule = Schedule(training, self._progress_of_a_step())
        self._seed, self._generator = seed, device.generator(seed)
        groups = model.optimizer_groups()
        _refuse_other_groups(training, list(groups))
        if training.select == "loss" and len(groups) > 1:
            raise ConfigError(
                f"training.select is loss, but there are several: of {', '.join(groups)}; "
                "set it to last"
            )
        self._steps = {
            name: GuardedStep(training, parameters, training.apart(name))
            for name, parameters in groups.items()
        }
        self._group_steps = dict.fromkeys(groups, 0)
        # The loss alone: sampling and evaluation have other shapes, and would compile again for
        # each.
        self._loss = ranks.sharing(model, compiled_loss(model) if training.compile else model.loss)
        self._compile_pending = training.compile
        self._graphed: GraphedStep[_Done] | None = None
        if training.graph:
            check_graph(model, device.kind, ranks.num)
            self._graphed = GraphedStep(
                type(model).__name__,
                self._recorded,
                partial(GRAPHS[device.kind], self._generator),
                partial(clock.timing, "compile"),
            )
        self.looks = Looks(budget.time_limit_s(ranks.num), self.choice.num_scores)
        # On the device: to add up there waits for nothing.
        zero = torch.zeros((), device=device.torch_device)
        self._loss_sum, self._skipped = zero.clone(), zero.clone()
        # Bad steps in a row, each group's own: one that goes on must not hide one that is lost.
        self._streaks = [zero.clone() for _ in self._steps]
        self._steps_since_look = 0
        # Sums on the device and their counts: not each step, nor each group, has all of them.
        self._info: dict[str, tuple[Tensor, int]] = {}

    @property
    def num_examples(self) -> int:
        """Training examples seen."""
        return self._batches.examples_seen

    @property
    def num_skipped(self) -> int:
        """Steps without a finite loss and gradient."""
        # This waits for the device, so it is asked at the end alone.
        return int(self._skipped)

    def progress(self) -> float:
        """Part of the budget that is used."""
        return self._progress(self._clock.charged_s, self.num_steps, self._batches.examples_seen)

    def _progress_of_a_step(self) -> float:
        """What one step adds to the progress by its count alone; its time is not known before."""
        return self._progress(0.0, 1, self._training.batch_size)

    def _progress(self, charged_s: float, steps: int, examples: int) -> float:
        spent = Spent(
            charged_s=charged_s,
            num_devices=self._ranks.num,
            steps=steps,
            examples=examples,
            epochs=examples / self.model.data.num_train,
        )
        return self._budget.progress(spent)

    def run(self) -> None:
        """Trains until the budget is used.

        Raises:
            Preempted: The observer asked to stop; the state was saved.
            NonFiniteLossError: Too many steps in a row had no finite loss and gradient.
        """
        self.model.train()
        try:
            with self._device.numerics(self._training.precision), self._clock.timing("train"):
                self._run_steps()
            # Behind the timing of training, and always: what is kept is chosen among looks.
            self._look(1.0)
        except Preempted:  # between two steps, or in the middle of a validation
            self.save()
            raise

    def _run_steps(self) -> None:
        in_flight, streaks = InFlight(self._device), DelayedFlag(self._device)
        while self._steps and (progress := self.progress()) < 1.0:
            self._look_if_due(progress)
            # Before the step and not after: a job that is stopped at once has not spent anything.
            if self._observer.tick(self.num_steps, progress):
                raise Preempted
            progress = self._ranks.agree(progress)
            if not self._phase_begun(self._schedule.phase(progress)):
                break
            self._step(progress)
            streaks.push(self._longest_streak())
            in_flight.step_queued()
            self._give_up_if_lost(streaks.arrived(), self._training.max_nonfinite)
            if self._observer.checkpoint_due():
                self.save()
        self._device.synchronize()
        if self._steps and self.num_steps:
            # However few steps there were: without a single good one nothing was trained.
            most = min(self._training.max_nonfinite, self.num_steps)
            self._give_up_if_lost(float(self._longest_streak()), most)

    # --- phases -----------------------------------------------------------------------------------

    def _phase_begun(self, phase: int) -> bool:
        """Begins a phase if that is not done; False if the budget ended in the middle of it."""
        # A budget that makes few steps may pass over a phase; what it makes may be needed.
        while self._phases_begun <= phase:
            try:
                self._begin_phase(self._phases_begun)
            except _BudgetUsed:
                return False
            if self._training.phases[self._phases_begun].restart:
                self.choice.restart()
                for guarded in self._steps.values():
                    guarded.restart()
            self._phases_begun += 1
        return True

    @torch.no_grad()
    def _begin_phase(self, phase: int) -> None:
        # Seeded by the phase alone: begun again after an interruption, it makes the same.
        seed = _host_seed(self._seed, phase, 1)  # three numbers, where a step has two
        start = PhaseStart(
            phase=phase,
            averaged=self.choice.averaged if self.num_steps else None,
            batches=self._endless_batches(seed),
            generator=self._device.generator(seed),
            tick=self._tick_in_phase,
        )
        self.model.eval()
        try:
            self.model.begin_phase(start)
        finally:
            self.model.train()

    def _endless_batches(self, seed: int) -> Iterator[Batch]:
        batches, noise = self._stream(seed), self._device.generator(seed)
        while True:
            raw, context = batches.next()
            yield Batch(x=self._preprocessor.forward(raw, noise)[0], context=context)

    def _tick_in_phase(self) -> None:
        progress = self.progress()
        if self._observer.tick(self.num_steps, min(progress, 1.0)):
            raise Preempted
        if progress >= 1.0:
            raise _BudgetUsed

    # --- steps ------------------------------------------------------------------------------------

    def _step(self, progress: float) -> None:
        self._clock.switch("data")
        batch = self._batches.next()
        self._clock.switch("compile" if self._compile_pending else "train")
        # Once for all groups of a step, so that they agree on where training stands.
        lr, phase = self._schedule.lr(progress), self._schedule.phase(progress)
        # A copy of it to the device would be waited for.
        on_device = torch.full((), progress, device=self._device.torch_device)
        seed = _host_seed(self._seed, self.num_steps)
        # No compiled loss takes a generator. The device's own was seeded with the job's seed.
        generator = None if self._training.compile else self._generator
        here = partial(Step, progress=on_device, phase=phase, generator=generator, seed=seed)
        due = [group for group in self._steps if self._due(group, phase)]
        if self._graphed is not None and due:
            self._count(due[0], self._graphed(batch, progress, lr, phase))
            self.model.after_step(here(group=due[0]))
        else:
            prepared = self._prepared(*batch)
            for group in due:
                step = here(group=group)
                self._count(group, self._optimize(prepared, step, lr))
                self.model.after_step(step)
        self.choice.step_taken()
        self.num_steps += 1
        self._steps_since_look += 1
        # Until the first step is done on the device: compilation goes on inside of it.
        if self._compile_pending:
            self._device.synchronize()
            self._clock.switch("train")
            self._compile_pending = False

    def _due(self, group: str, phase: int) -> bool:
        # Else it does not step, not even with a gradient of zero, on which moments move it.
        every = self._training.apart(group).every
        return self._training.phases[phase].trains(group) and (self.num_steps + 1) % every == 0

    def _prepared(self, raw: Tensor, context: Mapping[str, Tensor]) -> Batch:
        # Its ladj is left out: a constant, or a term that no parameter moves.
        with self._ranks.drawing(len(raw), self._training.accumulate):
            x, _ = self._preprocessor.forward(raw, self._generator)
        return Batch(x=x, context=context, log_density=self._log_density)

    def _recorded(self, inputs: Inputs, phase: int) -> _Done:
        """A step of the only group, as a graph has it."""
        (group,) = self._steps
        step = RecordedStep(
            progress=inputs.progress, phase=phase, group=group, generator=self._generator, seed=0
        )
        return self._optimize(self._prepared(inputs.raw, inputs.context), step, inputs.lr)

    def _optimize(self, batch: Batch, step: Step, lr: float | Tensor) -> _Done:
        guarded = self._steps[step.group]
        guarded.zero_grad()
        parts = parts_of(batch, self._training.accumulate)
        total = torch.zeros((), device=self._device.torch_device)
        means: list[tuple[str, Tensor]] = []
        for number, part in enumerate(parts, 1):
            summing = self._ranks.summing(last=number == len(parts))
            with self._ranks.drawing(len(part.x)), summing:
                with self._device.autocast(self._training.precision):
                    loss, info = split_info(self._loss(part, step))
                    if len(parts) > 1:
                        loss = loss / len(parts)
                # Outside of autocast, as torch asks: backward runs in the types of forward.
                loss.backward()
            # Detached, or every graph of the training would be kept.
            total += loss.detach()
            means += [(name, value.detach().float().mean()) for name, value in info.items()]
        total = self._ranks.mean_loss(total)
        bad = guarded(lr, total)
        return _Done(total, bad, guarded.norm, tuple(means))

    def _count(self, group: str, done: _Done) -> None:
        index = list(self._steps).index(group)
        self._loss_sum += done.loss
        # Counts on while steps are bad and falls to 0 with a good one, without a branch to wait
        # for.
        self._streaks[index] = (self._streaks[index] + done.bad) * done.bad
        self._skipped += done.bad
        for name, mean in (*done.info, (self._name_of_norm(group), done.norm)):
            total, count = self._info.get(name, (0.0, 0))
            self._info[name] = (total + mean, count + 1)
        self._group_steps[group] += 1

    def _name_of_norm(self, group: str) -> str:
        return "gradient_norm" if len(self._steps) == 1 else f"gradient_norm/{group}"

    def _longest_streak(self) -> Tensor:
        return self._streaks[0] if len(self._streaks) == 1 else torch.stack(self._streaks).max()

    def _give_up_if_lost(self, streak: float | None, most: int) -> None:
        if streak is not None and streak >= most:
            steps = "1 step" if streak == 1 else f"{int(streak)} steps in a row"
            raise NonFiniteLossError(
                f"no finite loss and gradient in {steps}{self._lost_group()}, up to step "
                f"{self.num_steps}; try a lower learning rate, clipping or a longer warm-up"
            )

    def _lost_group(self) -> str:
        if len(self._streaks) == 1:
            return ""
        longest = max(range(len(self._streaks)), key=lambda i: float(self._streaks[i]))
        return f" of group {list(self._steps)[longest]!r}"

    # --- validation -------------------------------------------------------------------------------

    def _look_if_due(self, progress: float) -> None:
        if self.looks.due(progress):
            self._look(progress)

    def _look(self, progress: float) -> None:
        """Scores raw and averaged weights, and keeps the better if it is the best so far."""
        self._device.synchronize()  # or steps in flight would be charged to evaluation
        charged, before = self._clock.charged_s, self._clock.ledger()["eval"]
        with self._clock.timing("eval"):
            raw, ema = self.choice.score(
                self.num_steps, part=self.looks.part, averaged_alone=self.looks.averaged_alone
            )
        seconds = self._clock.ledger()["eval"] - before
        with self._clock.timing("eval"):
            self._observer.validated(
                ValidationPoint(
                    step=self.num_steps,
                    examples=self.num_examples,
                    charged_s=charged,
                    progress=min(progress, 1.0),
                    loss=self._mean_loss(),
                    raw=raw,
                    ema=ema,
                    info=self._mean_info()
                    | self._counts()
                    | self.choice.losses
                    | self._watched(progress),
                )
            )
        self.looks.taken(progress, seconds)

    def _watched(self, progress: float) -> dict[str, float]:
        """What the monitor sees, always of the same training examples."""
        if not self._monitor.due(progress):
            return {}
        if self._watched_batch is None:
            raw, context = self._stream(MONITOR_SEED).next()
            noise = self._device.generator(MONITOR_SEED)
            x, _ = self._preprocessor.forward(raw[:EXAMPLES], noise)
            self._watched_batch = Batch(x=x, context=context)
        with self._device.numerics("float32"):
            return self._monitor(self._watched_batch)

    def _mean_loss(self) -> float | None:
        # The first look comes before the first step.
        if not self._steps_since_look:
            return None
        mean = float(self._loss_sum) / self._steps_since_look
        self._loss_sum.zero_()
        self._steps_since_look = 0
        return mean

    def _counts(self) -> dict[str, float]:
        """Steps of each group so far, where there are several."""
        several = len(self._group_steps) > 1
        return {f"steps/{g}": float(n) for g, n in self._group_steps.items() if several}

    def _mean_info(self) -> dict[str, float]:
        means = {name: float(total) / count for name, (total, count) in self._info.items()}
        self._info.clear()
        return means

    # --- results and checkpoints ------------------------------------------------------------------

    def load_best(self) -> tuple[Weights, int]:
        """Puts the weights that are to be kept into the model; see `Choice.load`."""
        with self._clock.timing("eval"):
            return self.choice.load(self.num_steps)

    def save(self) -> None:
        """Hands the full resumable state to the observer."""
        self._device.synchronize()
        with self._clock.timing("checkpoint"):
            # Nothing is in flight by now: a state that is copied while it changes fits no step.
            self._observer.save(self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """All that training needs to go on as if it had not stopped.

        Returns:
            Tensors and plain data, the ledger included.
        """
        return {
            "model": self.model.state_dict(),
            "choice": self.choice.state_dict(),
            "optimizers": {n: s.state_dict() for n, s in self._steps.items()},
            "preprocessor": self._preprocessor.state_dict(),
            "batches": self._batches.state(),
            "generator": self._generator.get_state(),
            "rng": rng_state(self._device.kind),
            "format": CHECKPOINT_FORMAT,
            "num_steps": self.num_steps,
            "group_steps": self._group_steps,
            "phases_begun": self._phases_begun,
            "training_state": self.model.training_state(),
            "looks": self.looks.state_dict(),
            "steps_since_look": self._steps_since_look,
            # One copy to the host, in the order in which they are taken up again.
            "info": {name: (total.cpu(), count) for name, (total, count) in self._info.items()},
            "counters": torch.stack([self._loss_sum, self._skipped, *self._streaks]).cpu(),
            "ledger": self._clock.ledger(),
            "run_delay_s": self._clock.run_delay.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where another attempt stopped; the clock carries its ledger.

        Args:
            state: What `state_dict` returned.

        Raises:
            StoreError: Another version of flowbench wrote it.
        """
        # First: of another layout the keys below may be missing or mean something else.
        if state.get("format") != CHECKPOINT_FORMAT:
            raise StoreError(
                "the checkpoint was written by another version of flowbench; run the job anew "
                "(--rerun failed)"
            )
        self.model.load_state_dict(state["model"])
        self.choice.load_state_dict(state["choice"])
        for name, guarded in self._steps.items():
            guarded.load_state_dict(state["optimizers"][name])
        self._preprocessor.load_state_dict(state["preprocessor"])
        self._batches.load_state(state["batches"])
        self._generator.set_state(state["generator"])
        set_rng_state(state["rng"])
        self.num_steps, self._group_steps = state["num_steps"], dict(state["group_steps"])
        self._phases_begun = state["phases_begun"]
        self.model.load_training_state(state["training_state"])
        self.looks.load_state_dict(state["looks"])
        self._steps_since_look = state["steps_since_look"]
        where = self._device.torch_device
        self._info = {name: (total.to(where), n) for name, (total, n) in state["info"].items()}
        counters = state["counters"].to(where)
        self._loss_sum, self._skipped, *self._streaks = (c.clone() for c in counters)
        self._clock.carry(state["ledger"], state.get("run_delay_s"))
