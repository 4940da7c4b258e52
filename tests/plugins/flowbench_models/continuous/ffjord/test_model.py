from __future__ import annotations

from typing import Any

import pytest
import torch

from flowbench.api import Batch, Likelihood, SamplingOptions, Step, split_info
from flowbench.errors import ConfigError
from flowbench_models.continuous import settings
from flowbench_models.continuous.ffjord.config import FFJORDConfig
from flowbench_models.continuous.ffjord.model import FFJORD
from flowbench_models.continuous.ffjord.networks import ConcatSquashLinear, TimeNetwork
from flowbench_models.continuous.ode import Way, solve
from tests.plugins.flowbench_models.fixtures import (
    JacobianLogAbsDet,
    MakeDataset,
    Perturb,
)

LONG = (pytest.mark.slow, pytest.mark.long)
CONVOLUTION = {"network": "convolution", "activation": "softplus", "scales": 2, "exact_dims": 64}
TIGHT = {"rtol": 1e-7, "atol": 1e-8}


def _preset(name: str) -> FFJORDConfig:
    return FFJORDConfig.model_validate(FFJORDConfig.presets[name].values)


def _small(shape: tuple[int, ...], dataset: MakeDataset, perturb: Perturb, **more: Any) -> FFJORD:
    values = {"hidden": (4,), "evaluation": TIGHT, **more}
    return perturb(FFJORD(FFJORDConfig.model_validate(values), dataset(*shape))).eval()


def _step() -> Step:
    noise = torch.Generator().manual_seed(0)
    return Step(progress=torch.zeros(()), phase=0, group="all", generator=noise, seed=0)


@pytest.mark.parametrize(
    ("preset", "shape", "count"),
    [
        ("cifar10", (3, 32, 32), 1_358_882),
        ("mnist", (1, 28, 28), 800_646),
        ("planar", (2,), 9_225),
        ("power", (6,), 43_325),
        ("miniboone", (43,), 820_613),
    ],
)
def test_paper_presets_have_the_counts_of_the_released_code(
    preset: str, shape: tuple[int, ...], count: int, dataset: MakeDataset
) -> None:
    with torch.device("meta"):
        model = FFJORD(_preset(preset), dataset(*shape))
    assert model.num_parameters() == count


def test_cifar10_has_the_settings_of_the_released_script() -> None:
    config = _preset("cifar10")
    assert (config.hidden, config.blocks, config.scales) == ((64, 64, 64), 2, 4)
    assert (config.solver.rtol, config.solver.atol, config.adjoint) == (1e-5, 1e-5, True)
    training = config.training
    assert (training.batch_size, training.lr, training.augment) == (200, 1e-3, ("horizontal_flip",))
    assert training.phases[0].warmup == pytest.approx(1_000 / 250_000)


@pytest.mark.parametrize(
    ("shape", "more"),
    [
        ((2,), {}),
        ((5,), {"layer": "concat", "blocks": 2, "activation": "softplus"}),
        ((1, 2, 2), {}),
        pytest.param((1, 4, 4), {**CONVOLUTION, "blocks": 2}, marks=LONG),
        pytest.param((2, 2, 4), CONVOLUTION, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_latents_and_data_map_to_each_other_with_the_jacobians_ladj(
    shape: tuple[int, ...],
    more: dict[str, Any],
    dataset: MakeDataset,
    perturb: Perturb,
    jacobian_log_abs_det: JacobianLogAbsDet,
) -> None:
    model = _small(shape, dataset, perturb, **more)
    x = torch.randn(2, *shape, dtype=torch.float64)
    latents, ladj = model.to_latent(x)
    assert tuple(tuple(z.shape[1:]) for z in latents) == model.latent_shapes()
    torch.testing.assert_close(model.from_latent(latents), x, rtol=0, atol=1e-6)
    expected = jacobian_log_abs_det(lambda event: model.to_latent(event)[0], x)
    assert (expected.abs() > 1e-3).all()  # of no trivial map
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-5)


def test_density_in_two_dims_integrates_to_one(dataset: MakeDataset, perturb: Perturb) -> None:
    model = _small((2,), dataset, perturb, hidden=(8, 8))
    axis = torch.linspace(-8, 8, 120, dtype=torch.float64)
    with torch.no_grad():
        log_prob, _ = split_info(model.log_prob(torch.cartesian_prod(axis, axis)))
    mass = log_prob.exp().sum() * (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(mass.item(), 1.0, rtol=0, atol=1e-3)


@pytest.mark.parametrize("noise", ["rademacher", "gaussian"])
def test_estimates_average_to_the_exact_density(
    noise: str, dataset: MakeDataset, perturb: Perturb
) -> None:
    exact = _small((3,), dataset, perturb)
    estimated = FFJORD(
        exact.config.model_copy(update={"exact_dims": 2, "noise": noise}), exact.data
    ).double()
    estimated.load_state_dict(exact.state_dict())
    x = torch.randn(1, 3, dtype=torch.float64).expand(2000, 3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        draws, _ = split_info(estimated.eval().log_prob(x, generator=generator))
        expected, _ = split_info(exact.log_prob(x[:1]))
    error = draws.std() / len(draws) ** 0.5
    assert draws.std() > 1e-3
    assert abs(draws.mean() - expected) < 5 * error


def test_evaluations_are_noted_in_training_density_and_sampling(dataset: MakeDataset) -> None:
    model = FFJORD(FFJORDConfig(hidden=(8,)), dataset(2)).eval()
    x, generator = torch.randn(4, 2), torch.Generator()
    returned = (
        model.log_prob(x),
        model.sample(4, settings=SamplingOptions(), generator=generator),
        model.train().loss(Batch(x=x), _step()),
    )
    for one in returned:
        count = split_info(one)[1]["num_function_evaluations"]
        assert count >= 8  # dopri5: two to choose the first step, six for each


def test_looser_tolerances_take_fewer_evaluations(dataset: MakeDataset, perturb: Perturb) -> None:
    counts = []
    for rtol in (1e-3, 1e-6, 1e-9):
        model = _small((2,), dataset, perturb, evaluation={"rtol": rtol, "atol": rtol})
        info = split_info(model.log_prob(torch.ones(3, 2, dtype=torch.float64)))[1]
        counts.append(float(info["num_function_evaluations"]))
    assert counts[0] < counts[1] < counts[2]


def test_neighbours_move_a_density_by_less_than_the_tolerance(
    dataset: MakeDataset, perturb: Perturb
) -> None:
    """Steps are chosen for a batch; what that changes is below what the tolerance leaves open."""
    rtol = 1e-5
    model = _small((2,), dataset, perturb, hidden=(16, 16), evaluation={"rtol": rtol, "atol": rtol})
    x = 3 * torch.randn(64, 2, dtype=torch.float64)
    with torch.no_grad():
        together, _ = split_info(model.log_prob(x))
        alone = torch.cat([split_info(model.log_prob(row[None]))[0] for row in x[:8]])
    error = (together[:8] - alone).abs() / alone.abs().clamp_min(1.0)
    assert 0 < error.max() < 10 * rtol


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize(("shape", "more"), [((3,), {}), ((1, 4, 4), CONVOLUTION)], ids=str)
def test_a_gradient_reaches_every_parameter_end_times_included(
    shape: tuple[int, ...], more: dict[str, Any], adjoint: bool, dataset: MakeDataset
) -> None:
    values = {"hidden": (4,), "adjoint": adjoint, **more}
    model = FFJORD(FFJORDConfig.model_validate(values), dataset(*shape)).train()
    loss, _ = split_info(model.loss(Batch(x=torch.randn(8, *shape)), _step()))
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("adjoint", [False, True])
def test_the_gradient_by_an_end_time_is_that_of_differences(
    adjoint: bool, dataset: MakeDataset, perturb: Perturb
) -> None:
    values = {"solver": TIGHT, "adjoint": adjoint, "end_time": 0.5, "training_trace": "exact"}
    model = _small((2,), dataset, perturb, **values).train()
    root = next(p for name, p in model.named_parameters() if name.endswith("root_end_time"))
    batch, losses = Batch(x=torch.randn(4, 2, dtype=torch.float64)), []
    split_info(model.loss(batch, _step()))[0].backward()
    assert root.grad is not None
    for sign in (1, -1):
        with torch.no_grad():
            root.add_(sign * 1e-3)
            losses.append(float(split_info(model.loss(batch, _step()))[0]))
            root.sub_(sign * 1e-3)
    expected = torch.tensor((losses[0] - losses[1]) / 2e-3, dtype=torch.float64)
    assert expected.abs() > 1e-2
    torch.testing.assert_close(root.grad, expected, rtol=1e-3, atol=1e-5)


def test_steps_are_those_of_the_field_in_its_own_time(dataset: MakeDataset) -> None:
    """Not of one that the end time scales, whose first step is chosen by other sizes."""
    torch.manual_seed(0)
    config = FFJORDConfig.model_validate({**FFJORDConfig.presets["planar"].values})
    model, x = FFJORD(config, dataset(2)).eval(), torch.randn(100, 2)
    flow = model.scales[0][0]  # type: ignore[index]
    way, zeros = Way(solver=config.solver, each=False), torch.zeros(0, 100, 2)
    with torch.no_grad():
        found = flow.solve(x, way, zeros, backwards=False)
        plain = solve(flow.field, x, (0.0, 0.5), way, probes=zeros)
    assert found.evaluations == plain.evaluations
    torch.testing.assert_close(found.y, plain.y)


def test_end_times_stay_where_they_are_if_they_are_not_trained(dataset: MakeDataset) -> None:
    fixed = FFJORD(FFJORDConfig(hidden=(4,), end_time=0.5, train_end_time=False), dataset(2))
    trained = FFJORD(FFJORDConfig(hidden=(4,), end_time=0.5), dataset(2))
    assert trained.num_parameters() - fixed.num_parameters() == 1


def test_training_on_a_batch_lowers_its_loss(dataset: MakeDataset) -> None:
    torch.manual_seed(0)
    config = FFJORDConfig.model_validate({"hidden": (16,), "solver": {"method": "rk4", "steps": 2}})
    model = FFJORD(config, dataset(2)).train()
    batch = Batch(x=0.3 * torch.randn(64, 2) + 1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss, _ = split_info(model.loss(batch, _step()))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.3


@pytest.mark.parametrize(
    ("shape", "levels", "noise", "bound"),
    [
        ((2,), None, "none", False),
        ((16,), None, "none", False),
        ((17,), None, "estimates", False),
        ((1, 2, 2), 17, "weights", True),
        ((1, 8, 8), 17, "estimates", True),
    ],
)
def test_likelihoods_say_tolerance_and_noise(
    shape: tuple[int, ...], levels: int | None, noise: str, bound: bool, dataset: MakeDataset
) -> None:
    data = dataset(*shape, levels=levels)
    kind = _preset("vector" if levels is None else "tiny").likelihood(data)
    assert isinstance(kind, Likelihood)
    assert (kind.noise, kind.bound, kind.tolerance) == (noise, bound, 1e-5)


def test_a_squashed_layer_is_gated_and_shifted_by_the_time() -> None:
    layer = ConcatSquashLinear(2, 3)
    x, t = torch.randn(4, 2), torch.tensor(0.7)
    gate = (layer.gate.weight[:, 0] * t + layer.gate.bias).sigmoid()
    expected = layer.layer(x) * gate + layer.shift.weight[:, 0] * t
    torch.testing.assert_close(layer(t, x), expected)


@pytest.mark.parametrize("layer", ["concat", "concatsquash", "convolution"])
def test_networks_know_the_time(layer: Any) -> None:
    net = TimeNetwork(2, (4,), layer=layer, activation="tanh")
    x = torch.randn(3, 2, 4, 4) if layer == "convolution" else torch.randn(3, 2)
    early, late = (net(torch.tensor(t), x) for t in (0.0, 1.0))
    assert early.shape == x.shape
    assert not torch.allclose(early, late)


@pytest.mark.parametrize("hidden", [(), (0,), (8, -1)], ids=str)
def test_layers_have_units(hidden: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="hidden"):
        FFJORDConfig(hidden=hidden)


def test_what_cannot_run_says_why(dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _preset("cifar10")
    with pytest.raises(ConfigError, match=r"ffjord with scales=4 .* set fewer scales"):
        FFJORD(config, dataset(1, 12, 12))
    with pytest.raises(ConfigError, match="needs images"):
        FFJORD(config, dataset(3))
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"it needs torchdiffeq.*'flowbench\[ode\]'"):
        FFJORD(_preset("vector"), dataset(2))


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2,), (43,)], ids=str)
def test_default_preset_runs_on_images_and_vectors(
    shape: tuple[int, ...], dataset: MakeDataset
) -> None:
    data = dataset(*shape, levels=256 if len(shape) == 3 else None)
    config = _preset(FFJORDConfig.default_preset(data))
    assert config.unsupported(data) is None
    assert (config.preprocessing.noise is None) == (len(shape) == 1)


@pytest.mark.parametrize("name", FFJORDConfig.presets)
def test_every_preset_is_a_valid_configuration(name: str) -> None:
    _preset(name)
