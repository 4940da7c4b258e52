from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from flowbench.api import Phase, Training
from flowbench.training.optim import (
    GuardedStep,
    LastMean,
    RampedAverage,
    Schedule,
    build_optimizer,
    zero_if,
)

NAMES = ("adam", "adamw", "adamax", "sgd", "rmsprop")


def stepped(name: str, **settings: object) -> tuple[nn.Linear, GuardedStep]:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    training = Training.model_validate({"optimizer": name, **settings})
    guarded = GuardedStep(training, list(model.parameters()))
    model(torch.ones(4, 3)).sum().backward()
    assert guarded(1e-2, torch.zeros(())).item() == 0
    return model, guarded


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_gradient_leaves_weights_finite_and_is_counted(name: str) -> None:
    model, guarded = stepped(name)
    model.weight.grad = torch.tensor([[math.nan, 1.0, 1.0], [1.0, 1.0, 1.0]])
    assert guarded(1e-2, torch.zeros(())).item() == 1
    assert all(p.isfinite().all() for p in model.parameters())
    model(torch.ones(4, 3)).sum().backward()


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_fused_optimizers_skip_the_step_entirely(name: str) -> None:
    model, guarded = stepped(name)
    before = model.weight.clone()
    model.weight.grad = torch.full((2, 3), math.inf)
    guarded(1e-2, torch.zeros(()))
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("worst", [1.0, math.inf, math.nan])
def test_gradients_are_zeroed_in_a_few_launches(worst: float) -> None:
    gradients = [torch.full((2, 3, 1, 1), float(i)) for i in range(40)]
    gradients[7] = torch.arange(24.0).reshape(2, 3, 2, 2).to(memory_format=torch.channels_last)
    gradients[9] = gradients[9].bfloat16()
    gradients[3][0, 1] = worst
    expected = [g.clone() if worst == 1.0 else torch.zeros_like(g) for g in gradients]
    with torch.profiler.profile() as found:
        zero_if(torch.tensor(float(worst != 1.0)), gradients)
    for gradient, after in zip(gradients, expected, strict=True):
        assert torch.equal(gradient, after)
    launched = {event.key: event.count for event in found.key_averages()}
    # A choice between a tensor and a number is counted with the one that it calls.
    assert (launched["aten::_foreach_copy_"], launched["aten::where"] <= 2) == (1, True)


def test_clipping_is_by_the_global_norm() -> None:
    model, guarded = stepped("sgd", clip_norm=0.5, betas=(0.0, 0.999))
    before = [p.detach().clone() for p in model.parameters()]
    guarded.zero_grad()
    (100 * model(torch.ones(4, 3))).sum().backward()
    guarded(1.0, torch.zeros(()))
    steps = [(p - old).flatten() for p, old in zip(model.parameters(), before, strict=True)]
    assert math.isclose(torch.cat(steps).norm().item(), 0.5, rel_tol=1e-4)


def make_net(side: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, side), nn.Tanh(), nn.Linear(side, side), nn.Linear(side, 1))


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("adam", partial(torch.optim.Adam, betas=(0.9, 0.99))),
        ("adamax", partial(torch.optim.Adamax, betas=(0.9, 0.99))),
        ("rmsprop", partial(torch.optim.RMSprop, alpha=0.99)),
    ],
)
def test_agrees_with_the_plain_optimizer(
    name: Literal["adam", "adamax", "rmsprop"], plain: Callable[..., torch.optim.Optimizer]
) -> None:
    ours, theirs = make_net(4), make_net(4)
    training = Training(
        optimizer=name, clip_norm=None, betas=(0.0 if name == "rmsprop" else 0.9, 0.99)
    )
    guarded = GuardedStep(training, list(ours.parameters()))
    optimizer = plain(theirs.parameters(), lr=1e-2)
    for _ in range(3):
        guarded.zero_grad()
        ours(torch.ones(4, 3)).sum().backward()
        guarded(1e-2, torch.zeros(()))
        optimizer.zero_grad()
        theirs(torch.ones(4, 3)).sum().backward()
        optimizer.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_without_gradient_does_not_move(name: str) -> None:
    model, guarded = stepped(name, weight_decay=0.1)  # decay and momentum would move it
    unused = model.bias.detach().clone()
    for _ in range(5):
        guarded.zero_grad()
        model.weight.square().sum().backward()
        guarded(1e-2, torch.zeros(()))
    assert torch.equal(model.bias, unused)


@pytest.mark.parametrize("name", NAMES)
def test_the_state_is_the_plain_optimizers(name: str) -> None:
    _, guarded = stepped(name)
    model = nn.Linear(3, 2)
    plain = build_optimizer(Training.model_validate({"optimizer": name}), list(model.parameters()))
    plain.load_state_dict(guarded.state_dict())
    assert plain.state_dict()["state"].keys() == {0, 1}


def test_warmup_then_cosine() -> None:
    schedule = Schedule(Training(lr=2.0, phases=(Phase(warmup=0.1, final_lr_ratio=0.5),)))
    assert schedule.lr(0.0) == 0.0
    assert math.isclose(schedule.lr(0.05), 1.0)
    assert math.isclose(schedule.lr(0.1), 2.0)
    assert math.isclose(schedule.lr(0.55), 1.5)
    assert math.isclose(schedule.lr(1.0), 1.0)


def test_a_warmup_shorter_than_a_step_is_left_out() -> None:
    training = Training(lr=2.0, phases=(Phase(warmup=0.1),))
    assert Schedule(training, step=1.0).lr(0.0) == 2.0
    assert Schedule(training, step=0.1).lr(0.0) == 2.0
    assert Schedule(training, step=0.01).lr(0.0) == 0.0
    assert math.isclose(Schedule(training, step=0.01).lr(0.05), 1.0)


def test_phases_follow_one_another() -> None:
    phases = (
        Phase(share=0.95, lr=1e-3, schedule="constant", warmup=0.0),
        Phase(share=0.05, lr=2e-5, schedule="constant", warmup=0.0),
    )
    schedule = Schedule(Training(phases=phases))
    assert [schedule.phase(p) for p in (0.0, 0.94, 0.95, 1.0, 1.2)] == [0, 0, 1, 1, 1]
    assert (schedule.lr(0.5), schedule.lr(0.97)) == (1e-3, 2e-5)


def test_linear_schedule_ends_at_zero() -> None:
    schedule = Schedule(Training(lr=1.0, phases=(Phase(schedule="linear", warmup=0.0),)))
    assert [schedule.lr(p) for p in (0.0, 0.25, 1.0)] == [1.0, 0.75, 0.0]


def test_polynomial_schedule_falls_to_its_end_by_a_power() -> None:
    phase = Phase(schedule="polynomial", warmup=0.0, final_lr_ratio=0.1, power=3.0)
    schedule = Schedule(Training(lr=1e-3, phases=(phase,)))
    rates = [schedule.lr(p) for p in (0.0, 0.5, 1.0)]
    assert rates == pytest.approx([1e-3, 1e-4 + 9e-4 * 0.5**3, 1e-4])


def test_exponential_schedule_falls_by_equal_factors() -> None:
    phase = Phase(schedule="exponential", warmup=0.2, final_lr_ratio=0.01)
    schedule = Schedule(Training(lr=1.0, phases=(phase,)))
    rates = [schedule.lr(p) for p in (0.1, 0.2, 0.6, 1.0)]
    assert rates == pytest.approx([0.5, 1.0, 0.1, 0.01])


def test_step_schedule_falls_at_its_drops() -> None:
    phase = Phase(schedule="step", warmup=0.1, drops=(0.25, 0.5, 0.9), drop_ratio=0.5)
    schedule = Schedule(Training(lr=1.0, phases=(phase,)))
    rates = [schedule.lr(p) for p in (0.05, 0.2, 0.25, 0.6, 0.95, 1.0)]
    assert rates == pytest.approx([0.5, 1.0, 0.5, 0.25, 0.125, 0.125])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"schedule": "exponential"}, "set final_lr_ratio above 0"),
        ({"schedule": "step", "drops": (0.5, 1.5)}, "between 0 and 1"),
    ],
)
def test_a_schedule_without_an_end_is_refused(values: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Phase.model_validate(values)


def test_the_average_ramps_up() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = RampedAverage(model, 0.999)
    nn.init.ones_(model.weight)
    average.update()
    decay = 2 / 11  # (1 + n) / (10 + n) at n = 1
    assert math.isclose(average.model.weight.item(), 1 - decay, rel_tol=1e-6)
    assert average.model.weight.requires_grad  # by which a model finds its optimizer groups


def test_the_mean_of_the_last_is_over_as_many_as_there_are() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = LastMean(model, count=2, every=3)
    found = []
    for step in range(1, 13):
        model.weight.data.fill_(float(step))
        average.update()
        found.append(average.model.weight.item())
        if step == 7:  # a checkpoint between two of them
            other = LastMean(model, count=2, every=3)
            other.load_state_dict(average.state_dict())
            average = other
    # The present weights until the third step; then the mean of steps 3, 3 and 6, 6 and 9, ...
    assert found == [1, 2, 3, 3, 3, 4.5, 4.5, 4.5, 7.5, 7.5, 7.5, 10.5]
    assert average.model.weight.requires_grad


def test_the_average_has_the_present_buffers_and_can_be_saved() -> None:
    model = nn.BatchNorm1d(2)
    average = RampedAverage(model, 0.9)
    model(torch.randn(8, 2))
    average.update()
    buffers = dict(average.model.named_buffers())
    assert buffers["num_batches_tracked"].item() == 1
    for name, buffer in model.named_buffers():
        assert torch.equal(buffers[name], buffer)
    other = RampedAverage(model, 0.9)
    other.load_state_dict(average.state_dict())
    model.weight.data.fill_(3.0)
    average.update()
    other.update()
    assert torch.equal(average.model.weight, other.model.weight)
