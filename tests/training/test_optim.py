from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from flowbench.api import Phase, Training
from flowbench.training.optim import GuardedStep, RampedAverage, Schedule

NAMES = ("adam", "adamw", "adamax", "sgd", "rmsprop")


def stepped(name: str, clip_norm: float | None = None) -> tuple[nn.Linear, GuardedStep]:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    training = Training(optimizer=name, clip_norm=clip_norm)
    guarded = GuardedStep(training, list(model.parameters()))
    model(torch.ones(4, 3)).sum().backward()
    assert guarded(1e-2).item() == 0
    return model, guarded


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_gradient_leaves_weights_finite_and_is_counted(name: str) -> None:
    model, guarded = stepped(name)
    model.weight.grad[0, 0] = math.nan
    assert guarded(1e-2).item() == 1
    assert all(p.isfinite().all() for p in model.parameters())
    model(torch.ones(4, 3)).sum().backward()


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_fused_optimizers_skip_the_step_entirely(name: str) -> None:
    model, guarded = stepped(name)
    before = model.weight.clone()
    model.weight.grad.fill_(math.inf)
    guarded(1e-2)
    assert torch.equal(model.weight, before)


def test_clipping_is_by_the_global_norm() -> None:
    model, guarded = stepped("sgd", clip_norm=0.5)
    model.zero_grad()
    (100 * model(torch.ones(4, 3))).sum().backward()
    guarded(0.0)
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    assert math.isclose(norm.item(), 0.5, rel_tol=1e-4)


def test_agrees_with_the_plain_optimizer() -> None:
    model, _ = stepped("adam")
    torch.manual_seed(0)
    plain = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(plain.parameters(), 1e-2)
    plain(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    assert torch.allclose(model.weight, plain.weight)


def test_warmup_then_cosine() -> None:
    schedule = Schedule(Training(lr=2.0, phases=(Phase(warmup=0.1, final_lr_ratio=0.5),)))
    assert schedule.lr(0.0) == 0.0
    assert math.isclose(schedule.lr(0.05), 1.0)
    assert math.isclose(schedule.lr(0.1), 2.0)
    assert math.isclose(schedule.lr(0.55), 1.5)
    assert math.isclose(schedule.lr(1.0), 1.0)


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


def test_the_average_ramps_up() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = RampedAverage(model, 0.999)
    nn.init.ones_(model.weight)
    average.update()
    decay = 2 / 11  # (1 + n) / (10 + n) at n = 1
    assert math.isclose(average.model.weight.item(), 1 - decay, rel_tol=1e-6)
    assert not average.model.weight.requires_grad


def test_the_average_has_the_present_buffers_and_can_be_saved() -> None:
    model = nn.BatchNorm1d(2)
    average = RampedAverage(model, 0.9)
    model(torch.randn(8, 2))
    average.update()
    assert average.model.num_batches_tracked.item() == 1
    assert torch.equal(average.model.running_mean, model.running_mean)
    other = RampedAverage(model, 0.9)
    other.load_state_dict(average.state_dict())
    model.weight.data.fill_(3.0)
    average.update()
    other.update()
    assert torch.equal(average.model.weight, other.model.weight)
