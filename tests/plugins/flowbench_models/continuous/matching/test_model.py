from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowbench.api import (
    Batch,
    ContextInput,
    DatasetInfo,
    Likelihood,
    NoLikelihood,
    PhaseStart,
    Step,
    split_info,
)
from flowbench.errors import ConfigError
from flowbench_models.continuous import settings
from flowbench_models.continuous.matching.config import (
    FlowMatchingConfig,
    OTCFMConfig,
    RectifiedFlowConfig,
    VelocityConfig,
    VelocitySampling,
)
from flowbench_models.continuous.matching.model import (
    OTCFM,
    FlowMatching,
    RectifiedFlow,
    VelocityModel,
)
from flowbench_models.continuous.matching.pairing import optimal_pairs
from tests.plugins.flowbench_models.fixtures import (
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
    tensor,
)

Kind = tuple[type[VelocityModel], type[VelocityConfig]]

KINDS: dict[str, Kind] = {
    "flow-matching": (FlowMatching, FlowMatchingConfig),
    "ot-cfm": (OTCFM, OTCFMConfig),
    "rectified-flow": (RectifiedFlow, RectifiedFlowConfig),
}
TIGHT = {"rtol": 1e-7, "atol": 1e-7}
MLP: dict[str, Any] = {"network": "mlp", "width": 8, "blocks": 1, "evaluation": TIGHT}
all_kinds = pytest.mark.parametrize("kind", KINDS)


def _config(kind: str, preset: str) -> VelocityConfig:
    config = KINDS[kind][1]
    return config.model_validate(config.presets[preset].values)


def _model(kind: str, data: DatasetInfo, values: dict[str, Any]) -> VelocityModel:
    model, config = KINDS[kind]
    return model(config.model_validate(values), data)


def _step(seed: int = 0) -> Step:
    noise = torch.Generator().manual_seed(seed)
    return Step(progress=torch.zeros(()), phase=0, group="all", generator=noise, seed=seed)


def _labelled(data: DatasetInfo, num_classes: int) -> DatasetInfo:
    label = {"label": ContextInput(shape=(), num_classes=num_classes)}
    return dataclasses.replace(data, context=label)


@pytest.mark.parametrize(
    ("kind", "preset", "size", "count"),
    [
        ("ot-cfm", "cifar10", 32, 35_746_307),
        ("ot-cfm", "cifar10-256ch", 32, 142_861_315),
        ("flow-matching", "cifar10", 32, 55_676_419),
        ("flow-matching", "imagenet64", 64, 295_900_035),
        ("rectified-flow", "cifar10", 32, 61_804_419),
    ],
)
def test_paper_presets_have_the_counts_of_the_released_code(
    kind: str, preset: str, size: int, count: int, dataset: MakeDataset
) -> None:
    data = _labelled(dataset(3, size, size, levels=256), 1_000)
    with torch.device("meta"):
        model = KINDS[kind][0](_config(kind, preset), data)
    assert model.num_parameters() == count


def test_ot_cfm_trains_as_the_released_script() -> None:
    training = _config("ot-cfm", "cifar10").training
    assert (training.batch_size, training.lr, training.clip_norm) == (128, 2e-4, 1.0)
    assert training.phases[0].warmup == pytest.approx(5_000 / 400_001)
    assert training.average is not None


# --- between two Gaussians, where all is known ----------------------------------------------------

MEAN, STD = torch.tensor([1.0, -2.0]).double(), torch.tensor([0.5, 2.0]).double()


class Exact(nn.Module):
    r"""The velocity between N(0, 1) and N(m, s^2), each dim by itself, at independent pairs.

    With :math:`x_t \sim N(t m, c^2)`, :math:`c^2 = (1 - t)^2 + t^2 s^2`, it is
    :math:`m + (t s^2 - (1 - t)) (x - t m) / c^2`.
    """

    def forward(self, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
        t = t[:, None]
        variance = (1 - t).square() + (t * STD).square()
        return MEAN + (t * STD.square() - (1 - t)) * (x - t * MEAN) / variance


def _exact(kind: str, dataset: MakeDataset) -> VelocityModel:
    model = _model(kind, dataset(2, levels=None), {**MLP, "start_time": 0.0})
    model.network = Exact()
    return model.double().eval()


def _log_normal(x: Tensor) -> Tensor:
    values: Tensor = torch.distributions.Normal(MEAN, STD).log_prob(x).sum(dim=1)
    return values


@all_kinds
def test_the_likelihood_between_gaussians_is_the_gaussians(kind: str, dataset: MakeDataset) -> None:
    x = MEAN + STD * torch.randn(50, 2, dtype=torch.float64)
    with torch.no_grad():
        values, info = split_info(_exact(kind, dataset).log_prob(x))
    torch.testing.assert_close(values, _log_normal(x), rtol=1e-5, atol=1e-5)
    assert info["num_function_evaluations"] > 10


@all_kinds
def test_the_transport_between_gaussians_is_monotone_at_its_known_cost(
    kind: str, dataset: MakeDataset
) -> None:
    model, z = _exact(kind, dataset), torch.randn(4_000, 2, dtype=torch.float64)
    with torch.no_grad():
        x = model.from_latent((z,))
    # The marginal flow of a dim maps quantile to quantile, and so at the least cost.
    torch.testing.assert_close(x, MEAN + STD * z, rtol=1e-5, atol=1e-5)
    cost = (x - z).square().sum(dim=1)
    expected = (MEAN.square() + (STD - 1).square()).sum()
    assert abs(cost.mean() - expected) < 5 * cost.std() / len(z) ** 0.5


@all_kinds
def test_the_loss_is_least_at_the_exact_velocity(kind: str, dataset: MakeDataset) -> None:
    """Its gradient there is 0: moved by any constant, and scaled, it is larger."""
    model = _exact(kind, dataset)
    if isinstance(model, OTCFM):
        model.config = model.config.model_copy(update={"pairing": "independent"})
    data = MEAN + STD * torch.randn(20_000, 2, dtype=torch.float64)

    def loss(velocity: nn.Module) -> float:
        model.network = velocity
        return float(tensor(model.loss(Batch(x=data), _step())))

    class Moved(Exact):
        def __init__(self, shift: float, scale: float) -> None:
            super().__init__()
            self.shift, self.scale = shift, scale

        def forward(self, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
            return self.scale * super().forward(t, x) + self.shift

    least = loss(Exact())
    for shift, scale in ((0.2, 1.0), (-0.2, 1.0), (0.0, 1.1), (0.0, 0.9)):
        assert loss(Moved(shift, scale)) > least + 0.01


@pytest.mark.slow
@pytest.mark.long
def test_a_trained_field_is_that_between_gaussians(dataset: MakeDataset) -> None:
    torch.manual_seed(0)
    model = _model("flow-matching", dataset(2, levels=None), {**MLP, "width": 64, "blocks": 2})
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for index in range(1500):
        x = (MEAN + STD * torch.randn(512, 2)).float()
        optimizer.zero_grad()
        tensor(model.loss(Batch(x=x), _step(index))).backward()
        optimizer.step()
    t = torch.rand(500)
    points = t[:, None] * (MEAN + STD * torch.randn(500, 2)).float()
    points = points + (1 - t[:, None]) * torch.randn(500, 2)
    error = (model.velocity(t, points, None) - Exact()(t.double(), points.double())).square()
    assert error.mean() < 0.05
    z = torch.randn(500, 2)
    with torch.no_grad():
        x, _ = model.solve_backward((z,), None, VelocitySampling())
        values, _ = split_info(model.log_prob(x))
    assert (values - _log_normal(x.double())).abs().mean() < 0.1
    monotone = (MEAN + STD * z - z).square().sum(dim=1).mean()
    assert float((x - z).square().sum(dim=1).mean() / monotone) == pytest.approx(1.0, abs=0.05)


# --- paths and pairs ------------------------------------------------------------------------------


@all_kinds
def test_paths_lead_from_noise_to_data_at_their_velocity(kind: str, dataset: MakeDataset) -> None:
    model = _model(kind, dataset(2), MLP)
    noise, data = torch.randn(3, 2), torch.randn(3, 2)
    ends = [model.path(torch.full((3, 1), t), noise, data, None)[0] for t in (0.0, 1.0)]
    torch.testing.assert_close(ends[0], noise)
    torch.testing.assert_close(ends[1], data)
    _, velocity = model.path(torch.full((3, 1), 0.3), noise, data, None)
    torch.testing.assert_close(velocity, ends[1] - ends[0])


def test_paths_of_flow_matching_end_with_sigma_min(dataset: MakeDataset) -> None:
    model = _model("flow-matching", dataset(2), {**MLP, "sigma_min": 0.1})
    noise, data = torch.randn(3, 2), torch.randn(3, 2)
    end, velocity = model.path(torch.ones(3, 1), noise, data, None)
    torch.testing.assert_close(end, data + 0.1 * noise)
    torch.testing.assert_close(velocity, data - 0.9 * noise)


def test_sigma_blurs_the_paths_of_ot_cfm(dataset: MakeDataset) -> None:
    model = _model("ot-cfm", dataset(1), {**MLP, "sigma": 0.5})
    zeros, generator = torch.zeros(4_000, 1), torch.Generator().manual_seed(0)
    points, velocity = model.path(torch.full((4_000, 1), 0.5), zeros, zeros, generator)
    assert points.std().item() == pytest.approx(0.5, rel=0.05)
    assert not velocity.any()


@pytest.mark.parametrize("shape", [(2,), (1, 2, 2)])
def test_optimal_pairs_undo_a_permutation(shape: tuple[int, ...]) -> None:
    data = torch.randn(32, *shape)
    order = torch.randperm(32)
    rows, columns = optimal_pairs(data[order] + 1e-3, data, seed=0)
    assert len(rows) == len(columns) == 32
    assert torch.equal(order[rows], columns)
    again = optimal_pairs(data[order] + 1e-3, data, seed=0)
    assert torch.equal(again[0], rows)
    assert not torch.equal(optimal_pairs(data[order], data, seed=1)[0], rows)


def test_optimal_pairs_are_drawn_from_the_plan_of_a_linear_programme() -> None:
    from scipy.optimize import linear_sum_assignment

    noise, data = torch.randn(40, 3), 2 * torch.randn(40, 3) + 1
    rows, columns = optimal_pairs(noise, data, seed=3)
    cost = torch.cdist(noise, data).square().numpy()
    best = dict(zip(*linear_sum_assignment(cost), strict=True))
    assert all(best[int(i)] == int(j) for i, j in zip(rows, columns, strict=True))


def _labels_met(model: VelocityModel, data: Tensor, label: Tensor) -> set[tuple[float, int]]:
    """Pairs of an example and the label that the network sees at it."""
    met: set[tuple[float, int]] = set()

    class Watching(nn.Module):
        def forward(self, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
            assert label is not None
            met.update(zip(x[:, 0].round().tolist(), label.tolist(), strict=True))
            return x

    model.network = Watching()
    model.loss(Batch(x=data, context={"label": label}), _step())
    return met


@all_kinds
def test_labels_go_with_their_examples(
    kind: str, dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {**MLP, "class_conditional": True, "label_dropout": 0.3}
    model = _model(kind, _labelled(dataset(2), 5), values)
    monkeypatch.setattr(model, "_times", lambda like, generator: torch.ones(len(like)))
    label = torch.arange(200) % 5
    data = label[:, None].float().expand(200, 2) * 10
    met = _labels_met(model, data, label)
    assert met <= {(10.0 * i, j) for i in range(5) for j in (i, 5)}
    assert len(met) == 10  # of each class some are withheld


def _train(model: VelocityModel, phase: int = 0) -> None:
    """Trains on two clusters, left and right of the noise."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for index in range(150):
        signs = 2.0 * torch.randint(2, (128, 1)) - 1.0
        data = torch.cat((3.0 * signs, 0.0 * signs), dim=1) + 0.3 * torch.randn(128, 2)
        optimizer.zero_grad()
        step = dataclasses.replace(_step(index), phase=phase)
        tensor(model.loss(Batch(x=data), step)).backward()
        optimizer.step()


@pytest.mark.slow
def test_optimal_pairs_straighten_the_flow(dataset: MakeDataset) -> None:
    """The mean squared distance of velocities along a path from its chord, of trained flows."""
    straightness = {}
    for pairing in ("independent", "optimal"):
        torch.manual_seed(1)
        values = {**MLP, "width": 32, "pairing": pairing}
        model = _model("ot-cfm", dataset(2, levels=None), values)
        _train(model)
        straightness[pairing] = _unevenness(model)
    assert straightness["optimal"] < 0.5 * straightness["independent"]


@torch.no_grad()
def _unevenness(model: VelocityModel, steps: int = 20) -> float:
    x = start = torch.randn(500, 2)
    velocities = []
    for index in range(steps):
        velocities.append(model.velocity(torch.full((500,), index / steps), x, None))
        x = x + velocities[-1] / steps
    return float((torch.stack(velocities) - (x - start)).square().sum(dim=2).mean())


# --- stages of rectified flow ---------------------------------------------------------------------

CURVED: dict[str, Any] = {**MLP, "start_time": 0.0, "num_pairs": 60}


def _staged(*stages: str) -> dict[str, Any]:
    share = 1 / len(stages)
    return {**CURVED, "stages": stages, "training": {"phases": [{"share": share}] * len(stages)}}


def _begin(model: VelocityModel, phase: int, batch: Batch) -> int:
    """Begins a phase as the harness does; returns how often it was told of."""
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    noise = torch.Generator().manual_seed(0)
    batches = itertools.repeat(batch)
    with torch.no_grad():
        model.begin_phase(
            PhaseStart(phase=phase, averaged=None, batches=batches, generator=noise, tick=tick)
        )
    return ticks


def _reflowed(dataset: MakeDataset, *stages: str) -> tuple[RectifiedFlow, Batch]:
    """A flow with the exact field between Gaussians, about to be straightened."""
    model = _model("rectified-flow", dataset(2, levels=None), _staged(*stages)).double()
    assert isinstance(model, RectifiedFlow)
    model.network = Exact()
    return model, Batch(x=torch.randn(256, 2, dtype=torch.float64))


@pytest.mark.parametrize("stage", ["reflow", "distil"])
def test_pairs_are_noise_and_what_the_flow_makes_of_it(stage: str, dataset: MakeDataset) -> None:
    model, batch = _reflowed(dataset, "rectify", stage)
    assert _begin(model, 0, batch) == 0
    assert model.training_state() == {"made": None}
    assert _begin(model, 1, batch) == 1
    noise, data, label = model.training_state()["made"]
    assert (len(noise), label) == (60, None)
    torch.testing.assert_close(data, MEAN + STD * noise, rtol=1e-5, atol=1e-5)


def test_a_reflow_trains_on_its_pairs_and_its_transport_is_no_dearer(dataset: MakeDataset) -> None:
    """Between Gaussians the first flow is monotone already: lines between its pairs are its own."""
    model, batch = _reflowed(dataset, "rectify", "reflow")
    _begin(model, 1, batch)
    noise, data, _ = model.training_state()["made"]
    met: list[Tensor] = []

    class Straight(nn.Module):
        def forward(self, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
            met.append(x)
            # On the line from z to m + s z, z is found from the point and the time.
            z = (x - t[:, None] * MEAN) / (1 - t[:, None] + t[:, None] * STD)
            return MEAN + (STD - 1) * z

    model.network = Straight()
    step = dataclasses.replace(_step(), phase=1)
    assert float(tensor(model.loss(Batch(x=1e3 * batch.x), step))) < 1e-8
    assert met[0].abs().max() < 100  # of the pairs, not of the batch
    rectify = dataclasses.replace(step, phase=0)
    assert float(tensor(model.loss(batch, rectify))) > 0.1
    with torch.no_grad():
        straight = model.from_latent((noise,))
    before, after = ((end - noise).square().sum(dim=1).mean() for end in (data, straight))
    assert after <= before * (1 + 1e-6)


@pytest.mark.slow
def test_a_reflow_of_a_trained_flow_is_straighter_and_no_dearer(dataset: MakeDataset) -> None:
    torch.manual_seed(1)
    values = {**_staged("rectify", "reflow"), "width": 32, "num_pairs": 1000}
    model = _model("rectified-flow", dataset(2, levels=None), values)
    _train(model)
    z = torch.randn(500, 2)

    def cost() -> float:
        with torch.no_grad():
            return float((model.from_latent((z,)) - z).square().sum(dim=1).mean())

    before = _unevenness(model), cost()
    _begin(model, 1, Batch(x=torch.zeros(1000, 2)))
    _train(model, phase=1)
    assert _unevenness(model) < 0.5 * before[0]
    # The flow is learned: its cost has an error of its own.
    assert cost() < 1.02 * before[1]


def test_a_distilled_flow_goes_all_the_way_in_one_step(dataset: MakeDataset) -> None:
    model, batch = _reflowed(dataset, "rectify", "reflow", "distil")
    _begin(model, 1, batch)
    made = model.training_state()["made"]
    assert _begin(model, 2, batch) == 0  # the pairs are there
    assert model.training_state()["made"] is made
    times: list[Tensor] = []

    class Jump(nn.Module):
        def forward(self, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
            times.append(t)
            return MEAN + (STD - 1) * x

    model.network = Jump()
    loss = tensor(model.loss(batch, dataclasses.replace(_step(), phase=2)))
    assert float(loss) < 1e-8
    assert not times[0].any()
    z = torch.randn(5, 2, dtype=torch.float64)
    x, evaluations = model.solve_backward((z,), None, VelocitySampling())
    assert evaluations == 1
    torch.testing.assert_close(x, MEAN + STD * z)
    config = model.config
    assert isinstance(config.likelihood(model.data), NoLikelihood)
    reason = config.unsupported_sampling(VelocitySampling(solver="euler", steps=2), model.data)
    assert reason is not None
    assert "one step" in reason


def test_pairs_come_with_labels_and_back_from_a_checkpoint(dataset: MakeDataset) -> None:
    values = {**_staged("rectify", "reflow"), "class_conditional": True}
    data = _labelled(dataset(2, levels=None), 3)
    model, other = (_model("rectified-flow", data, values) for _ in range(2))
    label = torch.tensor([0, 1, 1, 2])
    _begin(model, 1, Batch(x=torch.randn(4, 2), context={"label": label}))
    other.load_training_state(model.training_state())
    noise, results, labels = other.training_state()["made"]
    assert len(noise) == len(results) == len(labels) == 60
    assert labels.bincount().tolist() == [15, 30, 15]
    other.load_training_state({"made": None})
    assert other.training_state() == {"made": None}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stages": ("rectify", "reflow")}, "2 stages and 1 training.phases"),
        ({"stages": ("reflow",)}, "the first stage is rectify"),
        (_staged("rectify", "distil", "reflow"), "distil is the last stage"),
        (_staged("rectify", "distil", "distil"), "distil is the last stage"),
    ],
)
def test_stages_go_with_phases_and_in_order(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RectifiedFlowConfig.model_validate(values)


# --- likelihood and samples -----------------------------------------------------------------------


@all_kinds
@pytest.mark.parametrize("shape", [(2,), (1, 2, 2)])
def test_latents_and_data_map_to_each_other_with_the_jacobians_ladj(
    kind: str,
    shape: tuple[int, ...],
    dataset: MakeDataset,
    perturb: Perturb,
    jacobian_log_abs_det: JacobianLogAbsDet,
) -> None:
    model = perturb(_model(kind, dataset(*shape), MLP), 0.1).eval()
    x = torch.randn(2, *shape, dtype=torch.float64)
    latents, ladj = model.to_latent(x)
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-5)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("solver", "stages"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4)]
)
def test_samples_take_the_steps_that_they_are_asked_for(
    solver: Any, stages: int, dataset: MakeDataset
) -> None:
    model = _exact("flow-matching", dataset)
    errors = []
    for steps in (4, 64):
        options = VelocitySampling(solver=solver, steps=steps)
        noise = torch.Generator().manual_seed(0)
        x, info = split_info(model.sample(100, settings=options, generator=noise))
        assert info["num_function_evaluations"] == stages * steps
        z = model.sample_base(
            100, temperature=1.0, generator=noise.manual_seed(0), device=noise.device
        )[0]
        cost = (x - z).square().mean(dim=1)  # of each sample, over its dims
        torch.testing.assert_close(info["transport_cost"], cost)
        errors.append(float((x - (MEAN + STD * z)).abs().mean()))
    assert errors[1] < errors[0] / 8


def test_guidance_exaggerates_what_the_label_adds(dataset: MakeDataset) -> None:
    class Labelled(nn.Module):
        def forward(self, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
            assert label is not None
            return torch.where(label[:, None] == 3, 0.0, 1.0 + label[:, None].to(x.dtype)) + 0 * x

    model = _model("flow-matching", _labelled(dataset(2), 3), {**MLP, "class_conditional": True})
    model.network = Labelled()
    z, label = torch.zeros(3, 2), torch.arange(3)
    for weight in (0.0, 0.5, 2.0):
        options = VelocitySampling(guidance=weight)
        x, _ = model.solve_backward((z,), {"label": label}, options)
        expected = (1 + weight) * (1.0 + label[:, None].expand(3, 2))
        torch.testing.assert_close(x, expected.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "euler"}, "say how many, e.g. steps=8"),
        ({"steps": 4}, "dopri5 chooses its steps"),
        ({"solver": "dopri5", "steps": 1}, "leave steps out, or set solver=euler"),
    ],
)
def test_steps_belong_to_solvers_that_take_equal_ones(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        VelocitySampling(**options)


def test_guidance_without_labels_is_refused(dataset: MakeDataset) -> None:
    config = _config("flow-matching", "tiny")
    reason = config.unsupported_sampling(VelocitySampling(guidance=1.0), dataset(1, 8, 8))
    assert reason is not None
    assert "class_conditional=true" in reason


@pytest.mark.parametrize(
    ("kind", "values", "shape", "message"),
    [
        ("flow-matching", {"multipliers": (1, 2, 2)}, (1, 6, 6), "set fewer multipliers"),
        ("ot-cfm", {"network": "ddpmpp"}, (2,), "needs images"),
        ("rectified-flow", {"class_conditional": True}, (1, 8, 8), "needs labels"),
    ],
)
def test_what_cannot_run_says_why(
    kind: str, values: dict[str, Any], shape: tuple[int, ...], message: str, dataset: MakeDataset
) -> None:
    with pytest.raises(ConfigError, match=message):
        _model(kind, dataset(*shape), values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network": "unet", "width": 9}, "width of network=unet must be even, got 9"),
        ({"network": "ddpmpp", "width": 33}, "width of network=ddpmpp must be even, got 33"),
        ({"width": 12, "heads": 5}, "multiple of head_channels or heads, got 12 and 5"),
        ({"multipliers": (1, 0)}, "multipliers.1"),
        ({"multipliers": (-1,)}, "multipliers.0"),
        ({"attention": (0,)}, "attention.0"),
    ],
)
def test_sizes_that_no_network_has_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FlowMatchingConfig.model_validate(values)


def test_a_perceptron_may_have_an_odd_width(dataset: MakeDataset) -> None:
    model = _model("flow-matching", dataset(2), {**MLP, "width": 9})
    assert model.velocity(torch.rand(3), torch.randn(3, 2), None).shape == (3, 2)


def test_missing_packages_are_named_with_their_extra(
    dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"torchdiffeq.*'flowbench\[ode\]'"):
        _model("flow-matching", dataset(2), MLP)
    with pytest.raises(ConfigError, match=r"ot, which .*'flowbench\[ot\]'"):
        _model("ot-cfm", dataset(2), MLP)
    with pytest.raises(ConfigError, match=r"torchdiffeq.*'flowbench\[ode\]'"):
        _model("ot-cfm", dataset(2), {**MLP, "pairing": "independent"})


def test_likelihoods_say_tolerance_and_noise(dataset: MakeDataset) -> None:
    planar = _config("ot-cfm", "vector").likelihood(dataset(2, levels=None))
    digits = _config("ot-cfm", "tiny").likelihood(dataset(1, 8, 8))
    assert isinstance(planar, Likelihood)
    assert isinstance(digits, Likelihood)
    assert (planar.noise, planar.bound, planar.tolerance) == ("none", False, 1e-5)
    assert (digits.noise, digits.bound, digits.tolerance) == ("estimates", True, 1e-6)


@all_kinds
def test_skewed_times_are_those_of_log_normal_noise(kind: str, dataset: MakeDataset) -> None:
    model = _model(kind, dataset(2), {**MLP, "times": "skewed", "start_time": 0.0})
    t = model._times(torch.zeros(20_000, 2), torch.Generator().manual_seed(0))
    log_noise = (1 / t - 1).log()
    assert log_noise.mean().item() == pytest.approx(-1.2, abs=0.05)
    assert log_noise.std().item() == pytest.approx(1.2, abs=0.05)
    assert t.median() > 0.7  # nearer to data, at 1, than to noise


@all_kinds
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2,), (43,)], ids=str)
def test_default_preset_runs_on_images_and_vectors(
    kind: str, shape: tuple[int, ...], dataset: MakeDataset
) -> None:
    data = dataset(*shape, levels=256 if len(shape) == 3 else None)
    config = _config(kind, KINDS[kind][1].default_preset(data))
    assert config.unsupported(data) is None
    assert (config.preprocessing.noise is None) == (len(shape) == 1)


@pytest.mark.parametrize(
    ("kind", "preset"), [(kind, preset) for kind in KINDS for preset in KINDS[kind][1].presets]
)
def test_every_preset_is_a_valid_configuration(kind: str, preset: str) -> None:
    _config(kind, preset)
