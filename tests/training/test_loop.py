from __future__ import annotations

import math
import time
from types import ModuleType
from typing import Any

import pytest
import torch

from flowbench.api import GenerativeModel
from flowbench.data.batches import TrainBatches
from flowbench.data.library.splits import LoadedData
from flowbench.data.preprocess import Preprocessor
from flowbench.errors import NonFiniteLossError
from flowbench.registry import Registry
from flowbench.registry.build import build_model, load_dataset
from flowbench.registry.configs import configure
from flowbench.training.budget import Budget
from flowbench.training.clock import Clock
from flowbench.training.device import Device
from flowbench.training.loop import VALIDATE_AT, Trainer
from flowbench.training.observer import Preempted, ValidationPoint


class Watcher:
    """Keeps what the loop says; stops at a step if asked to."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.points: list[ValidationPoint] = []
        self.states: list[dict[str, Any]] = []
        self.stop_at = stop_at

    def tick(self, step: int, progress: float) -> bool:
        return self.stop_at == step

    def validated(self, point: ValidationPoint) -> None:
        self.points.append(point)

    def checkpoint_due(self) -> bool:
        return False

    def save(self, state: dict[str, Any]) -> None:
        self.states.append(state)


@pytest.fixture(scope="module")
def data(fake_registry: Registry) -> LoadedData:
    return load_dataset(fake_registry, "fake-images", ".")


def make(
    registry: Registry,
    data: LoadedData,
    name: str = "fake-gaussian",
    budget: str = "40steps",
    watcher: Watcher | None = None,
    validate: Any = None,
    **training: Any,
) -> Trainer:
    torch.manual_seed(0)
    overrides = {f"training.{key}": value for key, value in training.items()}
    configured = configure(registry, name, data.info, overrides)
    model = build_model(registry, name.partition(":")[0], configured.config.model_dump(), data.info)
    preprocessor = Preprocessor(model.config.preprocessing, data.info)
    device = Device("cpu", "a CPU", None)
    return Trainer(
        model,
        preprocessor,
        lambda seed: TrainBatches(data.splits.train, model.config.training.batch_size, seed, "cpu"),
        budget=Budget.parse(budget),
        clock=Clock(),
        device=device,
        seed=1,
        validate=validate,
        observer=watcher or Watcher(),
    )


def weights(model: GenerativeModel) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    ("budget", "steps"),
    [("7steps", 7), ("33examples", 3), ("1epochs", 12), ("5epochs,4steps", 4)],
)
def test_ends_at_the_budget(fake_registry, data, budget: str, steps: int) -> None:
    trainer = make(fake_registry, data, budget=budget)
    trainer.run()
    assert trainer.num_steps == steps


def test_a_time_budget_overshoots_by_at_most_a_step(fake_registry, data) -> None:
    trainer = make(fake_registry, data, name="fake-slow", budget="0.3s")
    trainer.run()
    assert 0.3 <= trainer._clock.charged_s < 0.3 + 3 * 0.06


def test_training_lowers_the_loss_and_is_reproducible(fake_registry, data) -> None:
    watcher = Watcher()
    first = make(fake_registry, data, budget="200steps", watcher=watcher)
    first.run()
    losses = [p.loss for p in watcher.points if p.loss is not None]
    assert losses[-1] < losses[0]
    second = make(fake_registry, data, budget="200steps")
    second.run()
    assert torch.equal(weights(first.model), weights(second.model))


@pytest.mark.parametrize("name", ["fake-gaussian", "fake-gaussian:averaged", "fake-gan"])
@pytest.mark.parametrize("optimizer", ["adam", "adamax"])
def test_a_resumed_run_equals_one_that_was_never_stopped(
    fake_registry, data, name: str, optimizer: str
) -> None:
    whole = make(fake_registry, data, name=name, optimizer=optimizer)
    whole.run()
    watcher = Watcher(stop_at=17)
    stopped = make(fake_registry, data, name=name, watcher=watcher, optimizer=optimizer)
    with pytest.raises(Preempted):
        stopped.run()
    resumed = make(fake_registry, data, name=name, optimizer=optimizer)
    resumed.load_state_dict(watcher.states[-1])
    assert resumed.num_steps == 17
    resumed.run()
    assert torch.equal(weights(whole.model), weights(resumed.model))


def test_the_clock_carries_over_a_resume(fake_registry, data) -> None:
    watcher = Watcher(stop_at=20)
    stopped = make(fake_registry, data, watcher=watcher)
    with pytest.raises(Preempted):
        stopped.run()
    spent = watcher.states[-1]["ledger"]["train"]
    resumed = make(fake_registry, data)
    resumed.load_state_dict(watcher.states[-1])
    assert resumed._clock.ledger()["train"] >= spent > 0


def test_divergence_gives_up_after_the_stated_number(fake_registry, data) -> None:
    trainer = make(fake_registry, data, name="fake-diverge", budget="1000steps", max_nonfinite=5)
    with pytest.raises(NonFiniteLossError, match="in 5 steps in a row"):
        trainer.run()
    assert trainer.num_skipped == 5
    assert weights(trainer.model).isfinite().all()


def test_both_optimizer_groups_step(fake_registry, data) -> None:
    trainer = make(fake_registry, data, name="fake-gan")
    critic = trainer.model.critic.weight.clone()
    trainer.run()
    assert not torch.equal(trainer.model.critic.weight, critic)
    assert trainer.model.shift.abs().sum() > 0
    assert trainer.load_best() == ("raw", 40)


def test_the_best_on_validation_is_kept_and_named(fake_registry, data) -> None:
    scores = iter([3.0, 1.0, *[2.0] * 100])
    watcher = Watcher()
    trainer = make(
        fake_registry, data, budget="100steps", watcher=watcher, validate=lambda _: next(scores)
    )
    trainer.run()
    assert trainer.best is not None
    assert trainer.best.score == 1.0
    assert trainer.load_best() == ("raw", watcher.points[1].step)


def test_averaged_weights_are_scored_beside_the_raw(fake_registry, data) -> None:
    def prefer_average(model: GenerativeModel) -> float:
        return 2.0 if model is trainer.model else 1.0

    watcher = Watcher()
    trainer = make(
        fake_registry, data, "fake-gaussian:averaged", watcher=watcher, validate=prefer_average
    )
    trainer.run()
    assert trainer.load_best()[0] == "ema"
    assert watcher.points[-1].ema == 1.0


def test_validation_is_not_charged(fake_registry, data) -> None:
    def slow(model: GenerativeModel) -> float:
        time.sleep(0.02)
        return 0.0

    trainer = make(fake_registry, data, validate=slow)
    trainer.run()
    ledger = trainer._clock.ledger()
    assert ledger["eval"] >= 0.02 * len(VALIDATE_AT)
    assert ledger["train"] < ledger["eval"]


def test_validation_leaves_the_model_in_training_mode(fake_registry, data) -> None:
    modes = []
    trainer = make(fake_registry, data, validate=lambda model: modes.append(model.training) or 1.0)
    trainer.run()
    assert not any(modes)
    assert trainer.model.training


def test_batch_norm_statistics_belong_to_the_averaged_weights(fake_registry, data, fakes) -> None:
    calibrated = []

    def look(model: GenerativeModel) -> float:
        calibrated.append(model.norm.running_mean.clone())
        return 1.0

    trainer = make(fake_registry, data, "fake-gaussian:averaged", validate=look)
    model = _with_batch_norm(fakes, trainer.model)
    trainer = make_for(model, trainer)
    trainer._validate_model = look
    trainer.run()
    # The last look is at the averaged model, whose statistics are those of the training data.
    raw = torch.as_tensor(data.splits.train.x).float().flatten(1) + 0.5
    assert torch.allclose(calibrated[-1], raw.mean(0), atol=0.2)


def test_batch_norm_statistics_are_re_estimated_without_tf32(fake_registry, data, fakes) -> None:
    seen: dict[str, set[str]] = {"training": set(), "re-estimation": set()}

    def note(norm: torch.nn.BatchNorm1d, _: Any) -> None:
        precision = torch.backends.cudnn.conv.fp32_precision
        seen["training" if norm.momentum is not None else "re-estimation"].add(precision)

    base = make(fake_registry, data, "fake-gaussian:averaged", precision="tf32")
    model = _with_batch_norm(fakes, base.model)
    model.norm.register_forward_pre_hook(note)
    make_for(model, base).run()
    assert seen == {"training": {"tf32"}, "re-estimation": {"ieee"}}


def _with_batch_norm(fakes: ModuleType, model: GenerativeModel) -> GenerativeModel:
    class WithNorm(fakes.Gaussian):
        def __init__(self, config, data):
            super().__init__(config, data)
            self.norm = torch.nn.BatchNorm1d(data.num_dims, momentum=1e-6)

        def loss(self, batch, step):
            self.norm(batch.x.flatten(1))
            return super().loss(batch, step) + 0.0 * self.norm.weight.sum()

    return WithNorm(model.config, model.data)


def make_for(model: GenerativeModel, other: Trainer) -> Trainer:
    return Trainer(
        model,
        other._preprocessor,
        other._stream,
        budget=other._budget,
        clock=Clock(),
        device=other._device,
        seed=1,
        validate=lambda _: 1.0,
        observer=Watcher(),
    )


def test_progress_never_reaches_one_before_the_last_step(fake_registry, data) -> None:
    watcher = Watcher()
    trainer = make(fake_registry, data, budget="10steps", watcher=watcher, validate=lambda _: 1.0)
    trainer.run()
    assert [p.progress for p in watcher.points][-1] == 1.0
    assert all(p.progress < 1.0 for p in watcher.points[:-1])
    assert math.isclose(watcher.points[0].progress, 0.0)


def test_an_interrupt_in_the_middle_of_a_validation_is_saved_too(fake_registry, data) -> None:
    looks = []

    def interrupted(model: GenerativeModel) -> float:
        looks.append(1)
        if len(looks) == 4:
            raise Preempted
        return 1.0

    watcher = Watcher()
    trainer = make(fake_registry, data, watcher=watcher, validate=interrupted)
    with pytest.raises(Preempted):
        trainer.run()
    resumed = make(fake_registry, data, validate=lambda _: 1.0)
    resumed.load_state_dict(watcher.states[-1])
    resumed.run()
    whole = make(fake_registry, data)
    whole.run()
    assert torch.equal(weights(whole.model), weights(resumed.model))
