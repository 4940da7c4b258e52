from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowbench.api import Batch, NoLikelihood, Step, split_info
from flowbench.errors import ConfigError
from flowbench_models.continuous import settings
from flowbench_models.continuous.matching.meanflow import (
    MeanFlow,
    MeanFlowConfig,
    MeanFlowSampling,
)
from tests.plugins.flowbench_models.fixtures import MakeDataset, tensor

STD = 3.0
MLP: dict[str, Any] = {"network": "mlp", "width": 8, "blocks": 1}


def _model(dataset: MakeDataset, **values: Any) -> MeanFlow:
    config = MeanFlowConfig.model_validate({**MLP, **values})
    return MeanFlow(config, dataset(2, levels=None)).double()


def _step() -> Step:
    noise = torch.Generator().manual_seed(0)
    return Step(progress=torch.zeros(()), phase=0, group="all", generator=noise, seed=0)


class OfOnePoint(nn.Module):
    """Data that are all 0: z_t = t e, and every average velocity of z is z / t."""

    def forward(self, told: Tensor, z: Tensor) -> Tensor:
        return z / told[:, :1]


def test_the_loss_vanishes_at_the_average_velocity(dataset: MakeDataset) -> None:
    model = _model(dataset, instantaneous=0.0)
    zeros = Batch(x=torch.zeros(64, 2, dtype=torch.float64))
    assert tensor(model.loss(zeros, _step())).item() > 0.1
    model.network = OfOnePoint()
    assert float(tensor(model.loss(zeros, _step()))) < 1e-12


@pytest.mark.parametrize("scale", [0.9, 1.1])
def test_another_velocity_has_a_loss(scale: float, dataset: MakeDataset) -> None:
    class Scaled(OfOnePoint):
        def forward(self, told: Tensor, z: Tensor) -> Tensor:
            return scale * super().forward(told, z)

    model = _model(dataset, instantaneous=0.0, power=0.0)
    model.network = Scaled()
    zeros = Batch(x=torch.zeros(64, 2, dtype=torch.float64))
    assert float(tensor(model.loss(zeros, _step()))) > 1e-3


def test_errors_are_weighted_by_their_squared_norm(dataset: MakeDataset) -> None:
    class Beside(OfOnePoint):
        def forward(self, told: Tensor, z: Tensor) -> Tensor:
            return super().forward(told, z) + 0.1

    model = _model(dataset, instantaneous=1.0, power=1.0, time_scale=1.0)
    model.network = Beside()
    zeros = Batch(x=torch.zeros(8, 2, dtype=torch.float64))
    assert tensor(model.loss(zeros, _step())).item() == pytest.approx(0.02 / (0.02 + 1e-3))


def test_cifar10_is_trained_as_released() -> None:
    config = MeanFlowConfig.model_validate(MeanFlowConfig.presets["cifar10"].values)
    assert (config.instantaneous, config.power, config.dropout) == (0.25, 0.75, 0.2)
    assert (config.mean_log_odds, config.spread) == (-2.0, 2.0)
    training = config.training
    assert (training.batch_size, training.lr, training.clip_norm) == (1024, 6e-4, None)


def test_stretches_are_ordered_and_some_have_no_length(dataset: MakeDataset) -> None:
    model = _model(dataset, instantaneous=0.75)
    r, t = model._stretches(torch.zeros(20_000, 2), torch.Generator().manual_seed(0))
    assert (r <= t).all()
    assert (r == t).double().mean().item() == pytest.approx(0.75, abs=0.02)
    assert 0 < t.min() < t.max() < 1


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_average_velocities_lead_to_the_data_in_any_number_of_steps(
    steps: int, dataset: MakeDataset
) -> None:
    model = _model(dataset, time_scale=1.0)
    model.network = OfOnePoint()
    model.like = nn.Parameter(torch.zeros((), dtype=torch.float64))
    x, info = split_info(
        model.sample(7, settings=MeanFlowSampling(steps=steps), generator=torch.Generator())
    )
    torch.testing.assert_close(x, torch.zeros(7, 2, dtype=torch.float64))
    assert info["num_function_evaluations"] == steps


@pytest.mark.slow
@pytest.mark.long
def test_one_step_reaches_a_gaussian(dataset: MakeDataset) -> None:
    torch.manual_seed(0)
    model = _model(dataset, width=64, blocks=2).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    # Without a rate that falls, single steps move the mean by more than what is asked here.
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=1500)
    noise = torch.Generator().manual_seed(0)
    for index in range(1500):
        step = Step(progress=torch.zeros(()), phase=0, group="all", generator=noise, seed=index)
        optimizer.zero_grad()
        tensor(model.loss(Batch(x=STD * torch.randn(256, 2) + 2.0), step)).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        x, _ = split_info(model.sample(4_000, settings=MeanFlowSampling(), generator=noise))
    assert (x.mean(dim=0) - 2.0).abs().max() < 0.4
    assert (x.std(dim=0) / STD - 1).abs().max() < 0.15


def test_a_likelihood_is_refused_with_its_reason(dataset: MakeDataset) -> None:
    kind = MeanFlowConfig().likelihood(dataset(1, 8, 8))
    assert isinstance(kind, NoLikelihood)
    assert "no known determinant" in kind.reason


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network": "ddpmpp"}, "set network=unet"),
        ({"network": "unet"}, "needs images"),
    ],
)
def test_what_cannot_run_says_why(
    values: dict[str, Any], message: str, dataset: MakeDataset
) -> None:
    with pytest.raises(ConfigError, match=message):
        _model(dataset, **values)


def test_it_needs_no_solver(dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    assert MeanFlowConfig(network="mlp").unsupported(dataset(2, levels=None)) is None


@pytest.mark.parametrize(
    "setting",
    [{"class_conditional": True}, {"times": "skewed"}, {"exact_dims": 4}, {"start_time": 0.1}],
    ids=str,
)
def test_settings_of_velocities_alone_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        MeanFlowConfig.model_validate(setting)


@pytest.mark.parametrize("name", MeanFlowConfig.presets)
def test_every_preset_is_a_valid_configuration(name: str) -> None:
    MeanFlowConfig.model_validate(MeanFlowConfig.presets[name].values)
