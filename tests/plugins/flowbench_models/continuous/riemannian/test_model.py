from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from flowbench.api import Batch, ConfigError, DatasetInfo, Step, split_info
from flowbench.api.data import Manifold
from flowbench.api.manifolds import manifold_of, mass_on
from flowbench_models.continuous.riemannian.geometry import Geometry, Rotations, Sphere, Torus
from flowbench_models.continuous.riemannian.model import (
    RiemannianFlowMatching,
    RiemannianFlowMatchingConfig,
    TimedLinear,
    TimedSwish,
)
from tests.plugins.flowbench_models.fixtures import Perturb, tensor

DIMS = {"SPHERE": 3, "TORUS": 2, "ROTATIONS": 4}
GEOMETRIES: dict[str, Geometry] = {
    "SPHERE": Sphere(),
    "TORUS": Torus(periodic=True),
    "ROTATIONS": Rotations(),
}


def info(name: str) -> DatasetInfo:
    return DatasetInfo(
        name=name.lower(), modality="manifold", event_shape=(DIMS[name],), levels=None,
        num_train=1, num_validation=1, num_test=1, manifold=f"flowbench.api.manifolds:{name}",
    )  # fmt: skip


def manifold(name: str) -> Manifold:
    return manifold_of(f"flowbench.api.manifolds:{name}")


def points(name: str, num: int, seed: int) -> Tensor:
    drawn = manifold(name).sample_uniform(num, np.random.default_rng(seed))
    return torch.from_numpy(np.asarray(drawn, dtype=np.float64))


def model(name: str, perturb: Perturb) -> RiemannianFlowMatching:
    torch.manual_seed(0)
    config = RiemannianFlowMatchingConfig(width=16, layers=3)
    return perturb(RiemannianFlowMatching(config, info(name)), std=0.1).eval()


@pytest.mark.parametrize(
    ("preset", "name", "expected"), [("earth", "SPHERE", 34_802_822), ("torus", "TORUS", 629_636)]
)
def test_parameters_are_those_of_the_released_networks(
    preset: str, name: str, expected: int
) -> None:
    values = RiemannianFlowMatchingConfig.presets[preset].values
    config = RiemannianFlowMatchingConfig.model_validate(values)
    assert RiemannianFlowMatching(config, info(name)).num_parameters() == expected


@pytest.mark.parametrize(
    ("preset", "batch_size", "lr", "tolerance"),
    [("earth", 8192, 1e-4, 1e-7), ("torus", 4096, 2e-4, 1e-5)],
)
def test_paper_presets_are_trained_as_released(
    preset: str, batch_size: int, lr: float, tolerance: float
) -> None:
    values = RiemannianFlowMatchingConfig.presets[preset].values
    config = RiemannianFlowMatchingConfig.model_validate(values)
    training = config.training
    assert (training.batch_size, training.lr, training.clip_norm) == (batch_size, lr, None)
    assert (training.optimizer, training.weight_decay) == ("adamw", 1e-3)
    assert config.evaluation.rtol == config.evaluation.atol == tolerance


def test_the_time_sets_a_steepness_above_0_and_shifts_nothing_at_first() -> None:
    network = RiemannianFlowMatching(RiemannianFlowMatchingConfig(), info("TORUS")).network
    for activation in network.activations:
        for parameter in activation.parameters():
            parameter.data.fill_(-1.0)
        assert isinstance(activation, TimedSwish)
        assert activation.beta(torch.ones(1, 1)).gt(0).all()
    for layer in network.layers:
        assert isinstance(layer, TimedLinear)
        assert not layer.shift.weight.any()


@pytest.mark.parametrize("name", DIMS)
def test_geodesics_lead_where_their_logarithms_say(name: str) -> None:
    geometry, x, y = GEOMETRIES[name], points(name, 500, 1), points(name, 500, 2)
    v = geometry.log(x, y)
    assert (geometry.tangent(x, v) - v).abs().max() < 1e-12
    # The end is y, or of a rotation its other quaternion: there is no way from the end to y.
    assert geometry.log(geometry.exp(x, v), y).norm(dim=-1).max() < 1e-6
    t = torch.full((500, 1), 0.3, dtype=x.dtype)
    here, step = geometry.exp(x, t * v), 1e-6
    there = geometry.exp(x, (t + step) * v)
    speed = geometry.velocity(x, v, t)
    assert (geometry.log(here, there) / step - speed).abs().max() < 1e-4
    assert (speed.norm(dim=-1) - v.norm(dim=-1)).abs().max() < 1e-9


@pytest.mark.parametrize("name", DIMS)
def test_densities_integrate_to_1(name: str, perturb: Perturb) -> None:
    flow = model(name, perturb)

    def log_prob(x: np.ndarray) -> np.ndarray:
        values, _ = split_info(flow.log_prob(torch.from_numpy(x)))
        return np.asarray(values.detach().numpy())

    mass = mass_on(manifold(name), log_prob, np.random.default_rng(0), 2000)
    assert abs(mass.value - 1) < 4 * mass.stderr
    assert 0.001 < mass.stderr < 0.1  # not the uniform density, and well known


@pytest.mark.parametrize("name", DIMS)
@pytest.mark.parametrize("how", [{}, {"solver": "euler", "steps": 3}])
def test_samples_stay_on_the_manifold(name: str, how: dict[str, object], perturb: Perturb) -> None:
    flow = model(name, perturb).float()
    settings = flow.config.sampling.model_validate(how)
    drawn, _ = split_info(
        flow.sample(200, settings=settings, generator=torch.Generator().manual_seed(0))
    )
    assert manifold(name).contains(drawn.detach().numpy()).all()


def test_a_rotation_has_one_density_whichever_quaternion_says_it(perturb: Perturb) -> None:
    flow, x = model("ROTATIONS", perturb), points("ROTATIONS", 50, 1)
    one, other = (split_info(flow.log_prob(q))[0] for q in (x, -x))
    assert (one - other).abs().max() < 1e-6


def test_an_untrained_field_of_nothing_leaves_the_uniform_density() -> None:
    flow = RiemannianFlowMatching(RiemannianFlowMatchingConfig(width=8, layers=2), info("SPHERE"))
    torch.nn.init.zeros_(flow.network.layers[-1].layer.weight)  # type: ignore[union-attr,arg-type]
    torch.nn.init.zeros_(flow.network.layers[-1].layer.bias)  # type: ignore[union-attr,arg-type]
    torch.nn.init.zeros_(flow.network.layers[-1].shift.weight)  # type: ignore[union-attr,arg-type]
    with torch.no_grad():
        values, _ = split_info(flow.log_prob(points("SPHERE", 5, 0).float()))
    assert values.numpy() == pytest.approx(-math.log(4 * math.pi), abs=1e-6)


def test_training_moves_the_density_towards_data() -> None:
    torch.manual_seed(0)
    config = RiemannianFlowMatchingConfig(width=32, layers=3)
    flow, noise = RiemannianFlowMatching(config, info("SPHERE")), torch.Generator().manual_seed(0)
    data = torch.nn.functional.normalize(torch.tensor([0.0, 0.0, 1.0]) + 0.2 * torch.randn(400, 3))
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    step = Step(progress=torch.tensor(0.0), phase=0, group="all", generator=noise, seed=0)
    for _ in range(100):
        optimizer.zero_grad()
        tensor(flow.loss(Batch(x=data, context={}), step)).backward()
        optimizer.step()
    with torch.no_grad():
        values, _ = split_info(flow.log_prob(data[:50]))
    assert float(values.mean()) > -math.log(4 * math.pi) + 1.0


def test_other_data_are_refused_in_one_line() -> None:
    config = RiemannianFlowMatchingConfig()
    plane = DatasetInfo(
        name="plane", modality="vector", event_shape=(2,), levels=None,
        num_train=1, num_validation=1, num_test=1,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="takes data on a manifold, plane names none"):
        RiemannianFlowMatching(config, plane)
    with pytest.raises(ValidationError, match="euler takes steps"):
        config.sampling.model_validate({"solver": "euler"})
