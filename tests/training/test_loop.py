from __future__ import annotations

import copy
import math
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    DatasetInfo,
    GenerativeModel,
    LastK,
    ModelConfig,
    Phase,
    PhaseStart,
    Step,
)
from flowbench.budget import Budget
from flowbench.data.batches import TrainBatches
from flowbench.data.library.splits import LoadedData
from flowbench.data.preprocess import Preprocessor
from flowbench.errors import ConfigError, NonFiniteLossError, StoreError
from flowbench.registry import Registry
from flowbench.registry.build import build_model, load_dataset
from flowbench.registry.configs import configure
from flowbench.training.choice import Validate
from flowbench.training.clock import Clock
from flowbench.training.device import Device
from flowbench.training.looks import VALIDATE_AT
from flowbench.training.loop import Trainer
from flowbench.training.monitor import Monitor
from flowbench.training.observer import Preempted, ValidationPoint
from flowbench.training.ranks import ALONE, Ranks
from tests.fakes import Gan, Gaussian

CPU = Device("cpu", "a CPU", None)


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


def configuration(
    registry: Registry, data: LoadedData, name: str, training: dict[str, Any]
) -> ModelConfig:
    overrides = {f"training.{key}": value for key, value in training.items()}
    return configure(registry, name, data.info, overrides).config


def make(
    registry: Registry,
    data: LoadedData,
    name: str = "fake-gaussian",
    budget: str = "40steps",
    watcher: Watcher | None = None,
    validate: Validate | None = None,
    validation_loss: Validate | None = None,
    **training: Any,
) -> Trainer:
    """A trainer of one of the fakes."""
    torch.manual_seed(0)
    config = configuration(registry, data, name, training)
    model = build_model(registry, name.partition(":")[0], config.model_dump(), data.info)
    return train_of(model, data, budget, watcher, validate, validation_loss=validation_loss)


def train_of(
    model: GenerativeModel,
    data: LoadedData,
    budget: str = "40steps",
    watcher: Watcher | None = None,
    validate: Validate | None = None,
    seed: int = 1,
    validation_loss: Validate | None = None,
    ranks: Ranks = ALONE,
    device: Device = CPU,
) -> Trainer:
    """A trainer of a model."""
    split, size = data.splits.train, model.config.training.batch_size
    return Trainer(
        model,
        Preprocessor(model.config.preprocessing, data.info, device.torch_device),
        lambda seed: TrainBatches(split, size, seed, device.torch_device),
        budget=Budget.parse(budget),
        clock=Clock(),
        device=device,
        seed=seed,
        validate=validate,
        validation_loss=validation_loss,
        observer=watcher or Watcher(),
        ranks=ranks,
    )


def weights(model: GenerativeModel) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    ("budget", "steps"),
    [("7steps", 7), ("33examples", 3), ("1epochs", 12), ("5epochs,4steps", 4)],
)
def test_ends_at_the_budget(
    fake_registry: Registry, data: LoadedData, budget: str, steps: int
) -> None:
    trainer = make(fake_registry, data, budget=budget)
    trainer.run()
    assert trainer.num_steps == steps


def test_a_time_budget_overshoots_by_at_most_a_step(
    fake_registry: Registry, data: LoadedData
) -> None:
    trainer = make(fake_registry, data, name="fake-slow", budget="0.3s")
    trainer.run()
    assert 0.3 <= trainer._clock.charged_s < 0.3 + 3 * 0.06


def test_training_lowers_the_loss_and_is_reproducible(
    fake_registry: Registry, data: LoadedData
) -> None:
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
    fake_registry: Registry, data: LoadedData, name: str, optimizer: str
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


def test_the_mean_of_the_last_weights_is_kept_and_resumed(
    fake_registry: Registry, data: LoadedData
) -> None:
    given: dict[str, Any] = {
        "average": LastK(count=3, every=5).model_dump(),
        "select": "last",
    }
    watcher = Watcher(stop_at=17)
    stopped = make(fake_registry, data, watcher=watcher, **given)
    with pytest.raises(Preempted):
        stopped.run()
    whole, resumed = make(fake_registry, data, **given), make(fake_registry, data, **given)
    resumed.load_state_dict(watcher.states[-1])
    for trainer in (whole, resumed):
        trainer.run()
        assert trainer.load_best() == ("ema", 40)
    assert torch.equal(weights(whole.model), weights(resumed.model))


def test_the_clock_carries_over_a_resume(fake_registry: Registry, data: LoadedData) -> None:
    watcher = Watcher(stop_at=20)
    stopped = make(fake_registry, data, watcher=watcher)
    with pytest.raises(Preempted):
        stopped.run()
    spent = watcher.states[-1]["ledger"]["train"]
    resumed = make(fake_registry, data)
    resumed.load_state_dict(watcher.states[-1])
    assert resumed._clock.ledger()["train"] >= spent > 0
    waited = watcher.states[-1]["run_delay_s"]
    assert resumed._clock.run_delay.seconds == pytest.approx(waited, abs=0.1)
    watcher.states[-1].pop("run_delay_s")  # as an earlier version left it
    resumed.load_state_dict(watcher.states[-1])
    assert resumed._clock.run_delay.seconds is None


def test_divergence_gives_up_after_the_stated_number(
    fake_registry: Registry, data: LoadedData
) -> None:
    trainer = make(fake_registry, data, name="fake-diverge", budget="1000steps", max_nonfinite=5)
    with pytest.raises(NonFiniteLossError, match="in 5 steps in a row"):
        trainer.run()
    assert trainer.num_skipped == 5
    assert weights(trainer.model).isfinite().all()


@pytest.mark.parametrize("budget", ["1steps", "3steps", "33examples", "0.2epochs"])
def test_a_training_without_one_finite_gradient_diverges_however_short(
    fake_registry: Registry, data: LoadedData, budget: str
) -> None:
    config = configuration(fake_registry, data, "fake-gan", {})
    trainer = train_of(LostCritic(config, data.info), data, budget=budget)
    with pytest.raises(NonFiniteLossError, match=r"no finite loss .* of group 'critic'"):
        trainer.run()


class LostLoss(Gaussian):
    """Its gradients stay finite."""

    lost = math.nan

    def loss(self, batch: Batch, step: Step) -> Tensor:
        return super().loss(batch, step) + self.lost


@pytest.mark.parametrize("lost", [math.nan, math.inf])
@pytest.mark.parametrize("optimizer", ["adam", "adamax"])
def test_a_loss_that_is_not_finite_diverges_whatever_its_gradients(
    fake_registry: Registry, data: LoadedData, lost: float, optimizer: str
) -> None:
    config = configuration(fake_registry, data, "fake-gaussian", {"optimizer": optimizer})
    model = LostLoss(config, data.info)
    model.lost = lost
    before = weights(model)
    with pytest.raises(NonFiniteLossError, match="no finite loss and gradient in 3 steps in a row"):
        train_of(model, data, budget="3steps").run()
    assert torch.equal(weights(model), before)


def test_one_good_step_is_enough_not_to_diverge(fake_registry: Registry, data: LoadedData) -> None:
    trainer = make(fake_registry, data, name="fake-diverge", budget="7steps")  # bad from the 5th on
    trainer.run()
    assert (trainer.num_steps, trainer.num_skipped) == (7, 3)


class LostCritic(Gan):
    """The gradient of one of two groups is never finite."""

    def loss(self, batch: Batch, step: Step) -> Tensor:
        return super().loss(batch, step) * (math.nan if step.group == "critic" else 1.0)


def test_a_group_that_is_lost_ends_the_training_though_others_step(
    fake_registry: Registry, data: LoadedData
) -> None:
    config = configuration(fake_registry, data, "fake-gan", {"max_nonfinite": 5})
    trainer = train_of(LostCritic(config, data.info), data, budget="1000steps")
    with pytest.raises(NonFiniteLossError, match=r"in 5 steps in a row of group 'critic'"):
        trainer.run()
    assert trainer.num_steps == 5


@pytest.mark.parametrize("budget", ["1steps", "1examples", "0.05epochs", "1steps,1h"])
def test_a_single_step_moves_the_weights(
    fake_registry: Registry, data: LoadedData, budget: str
) -> None:
    trainer = make(fake_registry, data, budget=budget)
    before = weights(trainer.model)
    trainer.run()
    assert trainer.num_steps == 1
    assert not torch.equal(weights(trainer.model), before)


class Noting(Gaussian):
    """Keeps the steps that it is given."""

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.steps: list[Step] = []

    def loss(self, batch: Batch, step: Step) -> Tensor:
        self.steps.append(step)
        return super().loss(batch, step)


def test_each_step_has_a_seed_and_its_progress_as_a_tensor(
    fake_registry: Registry, data: LoadedData
) -> None:
    config = configuration(fake_registry, data, "fake-gaussian", {})
    models = [Noting(config, data.info) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        train_of(model, data, "4steps", seed=seed).run()
    first, again, other = ([step.seed for step in model.steps] for model in models)
    assert first == again
    assert len({*first, *other}) == 8
    assert [step.progress.item() for step in models[0].steps] == [0.0, 0.25, 0.5, 0.75]
    assert all(isinstance(step.generator, torch.Generator) for step in models[0].steps)


def test_a_checkpoint_of_another_version_is_refused(
    fake_registry: Registry, data: LoadedData
) -> None:
    trainer = make(fake_registry, data)
    state = trainer.state_dict()
    del state["format"]  # version 1 had none
    with pytest.raises(StoreError, match="another version of flowbench; run the job anew"):
        trainer.load_state_dict(state)


def test_both_optimizer_groups_step(fake_registry: Registry, data: LoadedData) -> None:
    trainer = make(fake_registry, data, name="fake-gan")
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.run()
    assert {"critic.weight", "shift"} <= before.keys()
    for name, parameter in trainer.model.named_parameters():
        assert name == "critic.bias" or not torch.equal(parameter, before[name])
    assert trainer.load_best() == ("raw", 40)


def test_a_group_steps_in_its_own_rhythm(fake_registry: Registry, data: LoadedData) -> None:
    groups = {"generator": {"every": 3}}
    watcher = Watcher()
    trainer = make(
        fake_registry, data, name="fake-gan", budget="7steps", watcher=watcher, groups=groups
    )
    shift = trainer.model.get_parameter("shift")
    moved: list[bool] = []
    before = shift.detach().clone()
    step_taken = trainer.choice.step_taken

    def watch() -> None:
        nonlocal before
        moved.append(not torch.equal(shift, before))
        before = shift.detach().clone()
        step_taken()

    trainer.choice.step_taken = watch  # type: ignore[method-assign]
    trainer.run()
    # Moments of earlier steps do not move it in between.
    assert moved == [False, False, True, False, False, True, False]
    info = watcher.points[-1].info
    assert (info["steps/critic"], info["steps/generator"]) == (7.0, 2.0)
    resumed = make(fake_registry, data, name="fake-gan", budget="7steps", groups=groups)
    resumed.load_state_dict(trainer.state_dict())
    assert resumed.state_dict()["group_steps"] == {"critic": 7, "generator": 2}


def test_a_group_has_a_rate_and_moments_of_its_own(
    fake_registry: Registry, data: LoadedData
) -> None:
    def after_one_step(**apart: Any) -> torch.Tensor:
        training: dict[str, Any] = {"lr": 1e-3, "groups": {"generator": apart}}
        trainer = make(fake_registry, data, name="fake-gan", budget="1steps", **training)
        trainer.run()
        return trainer.model.get_parameter("shift").detach()

    # The first step of Adam is the rate, wherever there is a gradient.
    torch.testing.assert_close(after_one_step(lr_scale=0.5), 0.5 * after_one_step())
    decayed = make(
        fake_registry,
        data,
        name="fake-gan",
        groups={"critic": {"betas": (0.0, 0.9), "weight_decay": 0.1}},
    )
    (critic,) = decayed.state_dict()["optimizers"]["critic"]["param_groups"]
    (generator,) = decayed.state_dict()["optimizers"]["generator"]["param_groups"]
    assert (critic["betas"], critic["weight_decay"]) == ((0.0, 0.9), 0.1)
    assert (generator["betas"], generator["weight_decay"]) == ((0.9, 0.999), 0.0)


def test_a_phase_trains_the_groups_that_it_names(fake_registry: Registry, data: LoadedData) -> None:
    phases = ({"share": 0.5, "groups": ["critic"]}, {"share": 0.5, "groups": ["generator"]})
    trainer = make(fake_registry, data, name="fake-gan", budget="10steps", phases=phases)
    trainer.run()
    assert trainer.state_dict()["group_steps"] == {"critic": 5, "generator": 5}


@pytest.mark.parametrize(
    "training",
    [{"groups": {"critc": {"every": 2}}}, {"phases": ({"groups": ["critc"]},)}],
    ids=["apart", "in a phase"],
)
def test_groups_that_a_model_lacks_are_refused(
    fake_registry: Registry, data: LoadedData, training: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"critc; expected some of: critic, generator"):
        make(fake_registry, data, name="fake-gan", **training)


def test_a_restart_forgets_moments_average_and_best(
    fake_registry: Registry, data: LoadedData
) -> None:
    def state_at(step: int, restart: bool) -> dict[str, Any]:
        trainer = make(
            fake_registry,
            data,
            budget="8steps",
            average={"decay": 0.9},
            phases=({"share": 0.5}, {"share": 0.5, "restart": restart}),
            validate=lambda *_: 1.0,
        )
        states: list[dict[str, Any]] = []
        step_taken = trainer.choice.step_taken

        def watch() -> None:
            step_taken()
            if trainer.num_steps == step - 1:
                states.append(copy.deepcopy(trainer.state_dict()))

        trainer.choice.step_taken = watch  # type: ignore[method-assign]
        trainer.run()
        return states[0]

    def moments(state: dict[str, Any]) -> float:
        return float(state["optimizers"]["all"]["state"][0]["step"])

    kept, anew = state_at(5, restart=False), state_at(5, restart=True)  # the second phase's first
    assert (moments(kept), moments(anew)) == (5.0, 1.0)
    averages = [state["choice"]["average"]["updates"] for state in (kept, anew)]
    assert averages == [5, 1]
    assert kept["choice"]["best"] is not None
    assert anew["choice"]["best"] is None


def test_the_best_on_validation_is_kept_and_named(
    fake_registry: Registry, data: LoadedData
) -> None:
    scores = iter([3.0, 1.0, *[2.0] * 100])
    watcher = Watcher()
    trainer = make(
        fake_registry, data, budget="100steps", watcher=watcher, validate=lambda *_: next(scores)
    )
    trainer.run()
    assert trainer.choice.best is not None
    assert trainer.choice.best.score == 1.0
    assert trainer.load_best() == ("raw", watcher.points[1].step)


def test_averaged_weights_are_scored_beside_the_raw(
    fake_registry: Registry, data: LoadedData
) -> None:
    def prefer_average(model: GenerativeModel, part: float) -> float:
        return 2.0 if model is trainer.model else 1.0

    watcher = Watcher()
    trainer = make(
        fake_registry, data, "fake-gaussian:averaged", watcher=watcher, validate=prefer_average
    )
    trainer.run()
    assert trainer.load_best()[0] == "ema"
    assert watcher.points[-1].ema == 1.0


@pytest.mark.parametrize(("average", "weights"), [(None, "raw"), ({"decay": 0.9}, "ema")])
def test_the_last_weights_are_kept_if_they_are_selected(
    fake_registry: Registry, data: LoadedData, average: dict[str, float] | None, weights: str
) -> None:
    """Whatever they score: here the first look would have been the best."""
    scores = iter(range(1000))
    trainer = make(
        fake_registry, data, validate=lambda *_: float(next(scores)), select="last", average=average
    )
    trainer.run()
    assert trainer.choice.best is None
    assert trainer.load_best() == (weights, 40)


def test_weights_are_chosen_by_the_validation_loss_where_that_is_asked(
    fake_registry: Registry, data: LoadedData
) -> None:
    """The likelihood is best at the last look, the loss at the third; curves have both."""
    scores, losses = (iter(numbers) for numbers in (range(1000, 0, -1), [5, 4, 1, *range(6, 99)]))
    watcher = Watcher()
    trainer = make(
        fake_registry,
        data,
        watcher=watcher,
        validate=lambda *_: float(next(scores)),
        validation_loss=lambda *_: float(next(losses)),
        select="loss",
    )
    trainer.run()
    assert trainer.load_best() == ("raw", watcher.points[2].step)
    assert trainer.choice.selected_by == "loss"
    assert [p.info["validation_loss/raw"] for p in watcher.points[:4]] == [5, 4, 1, 6]


def test_a_model_without_a_likelihood_is_chosen_by_its_validation_loss(
    fake_registry: Registry, data: LoadedData
) -> None:
    losses = iter([3.0, 1.0, *[2.0] * 99])
    watcher = Watcher()
    trainer = make(
        fake_registry,
        data,
        watcher=watcher,
        validation_loss=lambda *_: next(losses),
        select="loss",
    )
    trainer.run()
    assert trainer.load_best() == ("raw", watcher.points[1].step)


def test_losses_of_several_groups_choose_no_weights(
    fake_registry: Registry, data: LoadedData
) -> None:
    with pytest.raises(ConfigError, match="select is loss, but there are several: of critic, gene"):
        make(fake_registry, data, "fake-gan", select="loss")


@pytest.mark.parametrize("batch_size", [8, 32])
def test_an_average_by_examples_is_one_by_steps_of_any_size(
    fake_registry: Registry, data: LoadedData, batch_size: int
) -> None:
    by_steps, by_examples = (
        make(fake_registry, data, "fake-gaussian", average=average, batch_size=batch_size)
        for average in ({"decay": 0.5 ** (batch_size / 64)}, {"half_life_examples": 64})
    )
    averages = []
    for trainer in (by_steps, by_examples):
        trainer.run()
        assert trainer.choice.averaged is not None
        averages.append(weights(trainer.choice.averaged))
    assert torch.equal(*averages)
    assert not torch.equal(averages[0], weights(by_steps.model))


def test_validation_is_not_charged(fake_registry: Registry, data: LoadedData) -> None:
    def slow(model: GenerativeModel, part: float) -> float:
        time.sleep(0.02)
        return 0.0

    trainer = make(fake_registry, data, validate=slow)
    trainer.run()
    ledger = trainer._clock.ledger()
    assert ledger["eval"] >= 0.02 * len(VALIDATE_AT)
    assert ledger["train"] < ledger["eval"]


def test_validation_leaves_the_model_in_training_mode(
    fake_registry: Registry, data: LoadedData
) -> None:
    modes: list[bool] = []

    def look(model: GenerativeModel, part: float) -> float:
        modes.append(model.training)
        return 1.0

    trainer = make(fake_registry, data, validate=look)
    trainer.run()
    assert not any(modes)
    assert trainer.model.training


class WithNorm(Gaussian):
    """Sees its batches through a batch norm, whose statistics hardly move in training."""

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.norm = nn.BatchNorm1d(data.num_dims, momentum=1e-6)

    def loss(self, batch: Batch, step: Step) -> Tensor:
        self.norm(batch.x.flatten(1))
        return super().loss(batch, step) + 0.0 * self.norm.weight.sum()


class GanWithNorms(Gan):
    """Each group's loss reaches a batch norm of its own."""

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        names = ("critic", "generator")
        self.norms = nn.ModuleDict({n: nn.BatchNorm1d(1, momentum=1e-6) for n in names})
        self.seen: set[str] = set()

    def loss(self, batch: Batch, step: Step) -> Tensor:
        self.seen.add(step.group)
        self.norms[step.group](batch.x.flatten(1).mean(1, keepdim=True))
        return super().loss(batch, step)


def means_in(norm: nn.BatchNorm1d) -> Tensor:
    assert norm.running_mean is not None
    return norm.running_mean.clone()


def means_of(data: LoadedData) -> Tensor:
    return torch.as_tensor(data.splits.train.x).float().flatten(1).mean(0) + 0.5


@pytest.mark.parametrize("name", ["fake-gaussian", "fake-gaussian:averaged"])
def test_batch_norm_statistics_fit_the_weights_that_are_scored_and_kept(
    fake_registry: Registry, data: LoadedData, name: str
) -> None:
    scored: list[Tensor] = []

    def look(model: GenerativeModel, part: float) -> float:
        assert isinstance(model, WithNorm)
        scored.append(means_in(model.norm))
        return 1.0 / len(scored)  # the last is the best

    model = WithNorm(configuration(fake_registry, data, name, {}), data.info)
    trainer = train_of(model, data, validate=look)
    trainer.run()
    assert all(torch.allclose(means, means_of(data), atol=0.2) for means in scored)
    assert means_in(model.norm).abs().max() < 0.1  # training goes on from its own statistics
    trainer.load_best()
    torch.testing.assert_close(means_in(model.norm), scored[-1])


def test_batch_norms_of_several_groups_are_refitted(
    fake_registry: Registry, data: LoadedData
) -> None:
    config = configuration(fake_registry, data, "fake-gan", {"average": {"decay": 0.9}})
    model = GanWithNorms(config, data.info)
    trainer = train_of(model, data)
    trainer.run()
    assert trainer.load_best() == ("ema", 40)
    for norm in model.norms.values():
        assert isinstance(norm, nn.BatchNorm1d)
        assert math.isclose(means_in(norm).item(), means_of(data).mean().item(), abs_tol=0.2)
    assert model.seen == {"critic", "generator"}


def test_whether_weights_are_scored_moves_no_noise_of_training(
    fake_registry: Registry, data: LoadedData
) -> None:
    config = configuration(fake_registry, data, "fake-gaussian:averaged", {})
    models = [WithNorm(config, data.info) for _ in range(2)]
    train_of(models[0], data).run()
    train_of(models[1], data, validate=lambda *_: 1.0).run()
    assert torch.equal(weights(models[0]), weights(models[1]))


def test_batch_norm_statistics_are_re_estimated_without_tf32(
    fake_registry: Registry, data: LoadedData
) -> None:
    seen: dict[str, set[str]] = {"training": set(), "re-estimation": set()}
    cudnn: Any = torch.backends.cudnn

    def note(norm: nn.Module, _: Any) -> None:
        precision = cudnn.conv.fp32_precision
        seen["training" if norm.momentum is not None else "re-estimation"].add(precision)

    tf32 = {"precision": "tf32"}
    config = configuration(fake_registry, data, "fake-gaussian:averaged", tf32)
    model = WithNorm(config, data.info)
    model.norm.register_forward_pre_hook(note)
    train_of(model, data, validate=lambda *_: 1.0).run()
    assert seen == {"training": {"tf32"}, "re-estimation": {"ieee"}}


def test_progress_never_reaches_one_before_the_last_step(
    fake_registry: Registry, data: LoadedData
) -> None:
    watcher = Watcher()
    trainer = make(fake_registry, data, budget="10steps", watcher=watcher, validate=lambda *_: 1.0)
    trainer.run()
    assert [p.progress for p in watcher.points][-1] == 1.0
    assert all(p.progress < 1.0 for p in watcher.points[:-1])
    assert math.isclose(watcher.points[0].progress, 0.0)


def test_an_interrupt_in_the_middle_of_a_validation_is_saved_too(
    fake_registry: Registry, data: LoadedData
) -> None:
    looks: list[int] = []

    def interrupted(model: GenerativeModel, part: float) -> float:
        looks.append(1)
        if len(looks) == 4:
            raise Preempted
        return 1.0

    watcher = Watcher()
    trainer = make(fake_registry, data, watcher=watcher, validate=interrupted)
    with pytest.raises(Preempted):
        trainer.run()
    resumed = make(fake_registry, data, validate=lambda *_: 1.0)
    resumed.load_state_dict(watcher.states[-1])
    resumed.run()
    whole = make(fake_registry, data)
    whole.run()
    assert torch.equal(weights(whole.model), weights(resumed.model))


class Refits:
    """Keeps which part of a refit was asked for."""

    def __init__(self) -> None:
        self.parts: list[float] = []

    def __call__(self, model: GenerativeModel, part: float = 1.0) -> None:
        self.parts.append(part)

    def while_scored(self, model: GenerativeModel, part: float) -> AbstractContextManager[None]:
        self(model, part)
        return nullcontext()


def test_parts_of_looks_choose_among_their_like_and_what_is_kept_is_refitted_whole(
    fake_registry: Registry, data: LoadedData
) -> None:
    scores, parts = iter((1.0, 5.0, 4.0, 6.0, 2.0)), []

    def score(_: GenerativeModel, part: float) -> float:
        parts.append(part)
        return next(scores)

    choice, refits = make(fake_registry, data, validate=score).choice, Refits()
    choice._refit = refits  # type: ignore[assignment]
    best = []
    for step, part in enumerate((0.125, 0.125, 0.5, 0.5, 0.5)):
        choice.score(step, part=part)
        best.append(choice.best.step if choice.best else None)
    assert best == [0, 0, 2, 2, 4]  # what is found in more examples stands for itself
    assert choice.load(5) == ("raw", 4)
    assert refits.parts == [*parts, 1.0]


class Reflowing(Gaussian):
    """Trains its second phase on what it drew from its averaged weights at the phase's start."""

    def __init__(self, config: ModelConfig, data: DatasetInfo) -> None:
        super().__init__(config, data)
        self.began: list[int] = []
        self.made: Tensor | None = None

    def begin_phase(self, start: PhaseStart) -> None:
        assert not self.training
        assert not torch.is_grad_enabled()
        self.began.append(start.phase)
        if start.phase == 0:
            assert start.averaged is None
            return
        assert start.averaged is not None
        pieces = []
        for _ in range(4):
            start.tick()
            x = next(start.batches).x
            noise = torch.randn(x.shape, generator=start.generator)
            pieces.append(0.5 * x + 0.1 * noise + weights(start.averaged).mean())
        self.made = torch.cat(pieces)

    def training_state(self) -> dict[str, Any]:
        return {"made": self.made}

    def load_training_state(self, state: dict[str, Any]) -> None:
        self.made = state["made"]

    def loss(self, batch: Batch, step: Step) -> Tensor:
        if step.phase == 1:
            assert self.made is not None
            batch = Batch(x=self.made[step.seed % 4 :: 4])
        return super().loss(batch, step)


TWO_PHASES = (Phase(share=0.5), Phase(share=0.5))


def _reflowing(
    registry: Registry, data: LoadedData, budget: str = "40steps", watcher: Watcher | None = None
) -> tuple[Trainer, Reflowing]:
    torch.manual_seed(0)
    config = configuration(
        registry, data, "fake-gaussian:averaged", {"phases": [p.model_dump() for p in TWO_PHASES]}
    )
    model = Reflowing(config, data.info)
    return train_of(model, data, budget, watcher), model


def test_each_phase_is_begun_once_and_trains_on_what_it_made(
    fake_registry: Registry, data: LoadedData
) -> None:
    trainer, model = _reflowing(fake_registry, data)
    trainer.run()
    assert model.began == [0, 1]
    assert trainer.num_steps == 40
    assert "made" not in model.state_dict()


class StopsAtTick(Watcher):
    """Asks to stop at a tick, of a step or within the start of a phase."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    def tick(self, step: int, progress: float) -> bool:
        self.left -= 1
        return self.left == 0


# Ticks: 20 steps, the one before the phase begins, 4 within it, and those of its steps.
@pytest.mark.parametrize("at", [10, 21, 22, 24, 25, 26, 35])
def test_a_run_that_is_cut_around_the_start_of_a_phase_goes_on_as_if_it_were_not(
    at: int, fake_registry: Registry, data: LoadedData
) -> None:
    whole, _ = _reflowing(fake_registry, data)
    whole.run()
    watcher = StopsAtTick(at)
    stopped, _ = _reflowing(fake_registry, data, watcher=watcher)
    with pytest.raises(Preempted):
        stopped.run()
    resumed, model = _reflowing(fake_registry, data)
    resumed.load_state_dict(watcher.states[-1])
    resumed.run()
    assert torch.equal(weights(whole.model), weights(resumed.model))
    assert model.training


def test_the_start_of_a_phase_is_charged_and_ends_with_the_budget(
    fake_registry: Registry, data: LoadedData
) -> None:
    class Endless(Reflowing):
        def begin_phase(self, start: PhaseStart) -> None:
            while start.phase == 1:
                time.sleep(0.01)
                start.tick()

    torch.manual_seed(0)
    config = configuration(
        fake_registry,
        data,
        "fake-gaussian:averaged",
        {"phases": [p.model_dump() for p in TWO_PHASES]},
    )
    trainer = train_of(Endless(config, data.info), data, "0.2s")
    trainer.run()
    assert 0.2 <= trainer._clock.charged_s < 0.5
    assert trainer.num_steps > 0


def test_looks_hold_what_was_seen_and_change_nothing_of_the_training(
    fake_registry: Registry, data: LoadedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Watcher()
    trainer = make(fake_registry, data, watcher=watcher, validate=lambda model, part: 0.0)
    trainer.run()
    first, *later = watcher.points
    assert first.info.keys() == {"round_trip", "round_trip_nonfinite", "log_determinant/all"}
    assert all(point.info["gradient_norm"] > 0 for point in later)
    assert all(point.info["round_trip"] < 1e-5 for point in later)
    # The flow is one scale for each dim: its log-determinant is minus the sum of their logarithms.
    model: Any = trainer.model
    expected = -float(model.log_std.sum().detach())
    assert later[-1].info["log_determinant/all"] == pytest.approx(expected, abs=1e-5)
    monkeypatch.setattr(Monitor, "due", lambda self, progress: False)
    unwatched = make(fake_registry, data, validate=lambda model, part: 0.0)
    unwatched.run()
    torch.testing.assert_close(weights(unwatched.model), weights(trainer.model), rtol=0, atol=0)
