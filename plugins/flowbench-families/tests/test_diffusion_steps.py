"""Diffusion in steps: its bound and its samples where all of it is known in closed form."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from flowbench.api import Batch, ConfigError, Step
from forms import images
from torch import Tensor

from flowbench_families.diffusion.ddpm import DDPM, DDPMConfig
from flowbench_families.diffusion.iddpm import IDDPM, IDDPMConfig
from flowbench_families.diffusion.stepped import SteppedModel

STD = 0.4
"""Of images of one pixel that are normal."""

LEVELS = 4001  # so near each other that the density is even within a bin
POINT = images(1, 1, 1, LEVELS)
WINDOW = {"width": 8, "multipliers": (1,)}


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class OfNormal(IDDPM):
    """What is right for such images: all that a network would have to learn."""

    def predict(self, z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        place = (t * (self.config.num_steps / 1000)).round().long() + 1
        spread, end = (self.spreads[at].view(-1, 1, 1, 1) for at in (place, place - 1))
        # Both of what is left of the image, and of noise that leads on from it.
        ratio = (end / spread).square()
        left = STD**2 * spread.square() / (STD**2 + spread.square())
        right = (end.square() * (1 - ratio) + (1 - ratio).square() * left).log()
        small, large = (at[place - 1].view(-1, 1, 1, 1) for at in (self.log_small, self.log_large))
        y = z * (1 + spread.square()).sqrt()
        noise = y * spread / (STD**2 + spread.square())
        return noise, 2 * (right - small) / (large - small) - 1


class OfNormalSmall(DDPM):
    """The same, with variances that are right if the image is known."""

    def predict(self, z: Tensor, t: Tensor) -> tuple[Tensor, None]:
        spread = self.spreads[(t * (self.config.num_steps / 1000)).round().long() + 1]
        spread = spread.view(-1, 1, 1, 1)
        return z * (1 + spread.square()).sqrt() * spread / (STD**2 + spread.square()), None


def _terms(model: SteppedModel, levels: Tensor) -> list[float]:
    """All terms of the bound of one pixel, that of the prior last; the noise by quadrature."""
    nodes, weights = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(40))
    noise, many = nodes.view(-1, 1, 1, 1), levels.expand(len(nodes), 1, 1, 1)
    terms = []
    for place in range(1, model.config.num_steps + 1):
        look = model.look(model.values(many), torch.full((len(nodes),), place), noise)
        terms.append(float(weights @ model.term(many, look, look.found) / weights.sum()))
    return [*terms, float(model.prior_term(model.values(levels)))]


def _exact(level: Tensor) -> float:
    """Negative log-probability of a level."""
    x = float(level) * 2 / (LEVELS - 1) - 1
    return 0.5 * (x / STD) ** 2 + math.log(STD * math.sqrt(2 * math.pi) * (LEVELS - 1) / 2)


@pytest.mark.parametrize("level", [2000, 2600, 1000])
@pytest.mark.parametrize("num_steps", [30, 200])
def test_the_bound_is_the_likelihood_if_variances_are_right(level: int, num_steps: int) -> None:
    """Of normal images each step back is normal: few steps lose nothing, but for the clipping."""
    config = IDDPMConfig(num_steps=num_steps, schedule="linear", heads=1, **WINDOW)
    model = OfNormal(config, POINT).train()  # does not clip
    levels = torch.full((1, 1, 1, 1), level)
    assert sum(_terms(model, levels)) == pytest.approx(_exact(levels), abs=2e-4)


@pytest.mark.parametrize("num_steps", [25, 100])
def test_the_bound_misses_what_variances_are_wrong_by(num_steps: int) -> None:
    """On average over images, whose second moments three values have."""
    model = OfNormalSmall(DDPMConfig(num_steps=num_steps, schedule="linear", **WINDOW), POINT)
    missed = 0.0
    for x, weight in ((0.0, 2 / 3), (math.sqrt(3) * STD, 1 / 6), (-math.sqrt(3) * STD, 1 / 6)):
        levels = torch.full((1, 1, 1, 1), round((x + 1) * (LEVELS - 1) / 2))
        missed += weight * (sum(_terms(model.train(), levels)) - _exact(levels))
    start, end = model.spreads[1:].square(), model.spreads[:-1].square()
    left = STD**2 * start / (STD**2 + start)
    right = end * (1 - end / start) + (1 - end / start).square() * left
    excess = right.log() - model.log_small
    prior = float((STD**2 + start[-1]) / (1 + start[-1]))
    expected = float(0.5 * (excess.exp() - 1 - excess).sum()) + 0.5 * (prior - 1 - math.log(prior))
    assert missed == pytest.approx(expected, abs=2e-3)
    assert expected > 0.5


MODELS = {
    "ddpm-large": (DDPM, DDPMConfig(num_steps=6, variance="large", **WINDOW)),
    "iddpm": (IDDPM, IDDPMConfig(num_steps=6, **WINDOW)),
    "iddpm-hybrid": (IDDPM, IDDPMConfig(num_steps=6, objective="hybrid", **WINDOW)),
}


def _perturbed(name: str, levels: int = 5) -> SteppedModel:
    torch.manual_seed(1)
    make, config = MODELS[name]
    model: SteppedModel = make(config, images(1, 2, 2, levels))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("name", ["ddpm-large", "iddpm"])
def test_estimates_average_to_the_sum_of_all_terms(name: str) -> None:
    model, num = _perturbed(name), 500
    generator = torch.Generator().manual_seed(2)
    levels = torch.tensor([0, 1, 3, 4]).view(1, 1, 2, 2).expand(num, 1, 2, 2)
    with torch.no_grad():
        drawn = -model.log_prob(levels, generator=generator)
        x = model.values(levels)
        whole = model.prior_term(x)
        for place in range(1, 7):
            noise = torch.randn(x.shape, generator=generator)
            look = model.look(x, torch.full((num,), place), noise)
            whole = whole + model.term(levels, look, look.found)
    error = math.hypot(*(float(v.std()) / math.sqrt(num) for v in (drawn, whole)))
    assert abs(float(drawn.mean() - whole.mean())) < 5 * error
    assert error < 0.05 * float(whole.mean())


def _step(seed: int) -> Step:
    generator = torch.Generator().manual_seed(seed)
    return Step(progress=torch.tensor(0.5), phase=0, group="all", generator=generator, seed=0)


def _loss(model: SteppedModel, levels: Tensor, seed: int) -> Tensor:
    loss = model.loss(Batch(x=levels), _step(seed))
    assert isinstance(loss, Tensor)
    return loss


def test_training_by_the_bound_estimates_the_bound() -> None:
    model = _perturbed("iddpm").train()
    levels = torch.tensor([0, 1, 3, 4]).view(1, 1, 2, 2).expand(1000, 1, 2, 2)
    with torch.no_grad():
        log_prob = model.log_prob(levels, generator=torch.Generator().manual_seed(5))
        bits = float(-log_prob.mean()) / (4 * math.log(2))
        assert float(_loss(model, levels, 4)) == pytest.approx(bits, rel=0.05)


def test_the_hybrid_objective_moves_the_noise_by_its_error_alone() -> None:
    model = _perturbed("iddpm-hybrid").train()
    levels = torch.randint(5, (8, 1, 2, 2))
    look = model.uniform_look(model.values(levels), _step(6).generator)
    leave = model.get_parameter("network.leave.bias")
    (alone,) = torch.autograd.grad((look.predicted - look.noise).square().mean(), leave)
    (both,) = torch.autograd.grad(_loss(model, levels, 6), leave)
    torch.testing.assert_close(both[0], alone[0])
    assert alone[1] == 0 != both[1]


# --- samples --------------------------------------------------------------------------------------


def _error(solver: str, stride: int) -> float:
    """Of a solution along the probability flow, which scales the start as a normal law's does."""
    config = IDDPMConfig(num_steps=400, schedule="linear", heads=1, **WINDOW)
    model = OfNormal(config, POINT).train()
    start, stop = float(model.spreads[400]), float(model.spreads[40])
    y = torch.full((1, 1, 1, 1), start)
    end, _ = model.follow(y, range(400, 39, -stride), solver, None)
    return abs(float(end) - start * math.sqrt((STD**2 + stop**2) / (STD**2 + start**2)))


@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("heun", 2)])
def test_samplers_have_their_order(solver: str, order: int) -> None:
    errors = [_error(solver, stride) for stride in (8, 4, 2)]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.3)


def test_few_steps_of_second_order_are_better_than_as_many_of_first() -> None:
    """Also where the first of them takes away almost all noise, as along a cosine."""
    config = IDDPMConfig(num_steps=100, schedule="cosine", heads=1, **WINDOW)
    model = OfNormal(config, POINT).train()
    start = float(model.spreads[-1])
    exact = start * STD / math.sqrt(STD**2 + start**2)
    y = torch.full((1, 1, 1, 1), start)
    ends = (model.follow(y, model.path(20), solver, None)[0] for solver in ("heun", "ddim"))
    second, first = (abs(float(end) - exact) for end in ends)
    assert second < 0.5 * first


def test_ancestral_samples_follow_the_law_of_the_images() -> None:
    config = IDDPMConfig(num_steps=20, schedule="linear", heads=1, **WINDOW)
    model = OfNormal(config, POINT).train()
    generator = torch.Generator().manual_seed(3)
    y = float(model.spreads[-1]) * torch.randn(20_000, 1, 1, 1, generator=generator)
    end, evaluations = model.follow(y, model.path(None), "ancestral", generator)
    assert evaluations == 20
    assert float(end.std()) == pytest.approx(STD, rel=0.02)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_steps_of_samples_have_the_variances_of_the_bound(variance: str) -> None:
    config = DDPMConfig.model_validate({"num_steps": 9, "variance": variance, **WINDOW})
    model = DDPM(config, POINT)
    expected = model.log_large if variance == "large" else model.log_small
    for place in range(2, 10):
        found = model.log_variance(model.spread(place), model.spread(place - 1), None)
        assert float(found) == pytest.approx(float(expected[place - 1]))


def test_samples_are_levels_and_say_what_they_cost() -> None:
    model = _perturbed("ddpm-large")
    for solver, evaluations in (("ancestral", 3), ("ddim", 3), ("heun", 5)):
        options = model.config.sampling.model_validate({"solver": solver, "steps": 3})
        x, info = model.sample(7, settings=options, generator=torch.Generator())
        assert x.shape == (7, 1, 2, 2) and x.dtype == torch.int64
        assert 0 <= int(x.min()) and int(x.max()) <= 4
        assert int(info["num_function_evaluations"]) == evaluations


def test_paths_start_at_all_noise_and_end_at_none() -> None:
    model = _perturbed("ddpm-large")
    assert model.path(None) == [6, 5, 4, 3, 2, 1, 0]
    assert model.path(3) == [6, 4, 1, 0]
    assert model.path(1) == [6, 0]


# --- configurations -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "preset", "num_parameters"),
    [
        (DDPMConfig, "cifar10", 35_218_947),
        (DDPMConfig, "cifar10-released", 35_746_307),
        (IDDPMConfig, "cifar10", 52_546_438),
        (IDDPMConfig, "cifar10-hybrid", 52_546_438),
        (IDDPMConfig, "imagenet64", 121_063_942),
    ],
)
def test_counts_are_those_of_released_code(
    config: type[DDPMConfig | IDDPMConfig], preset: str, num_parameters: int
) -> None:
    made = config.model_validate(config.presets[preset].values)
    with torch.device("meta"):
        size = 64 if preset == "imagenet64" else 32
        make = DDPM if isinstance(made, DDPMConfig) else IDDPM
        model = make(made, images(3, size, size, 256))  # type: ignore[arg-type]
    assert model.num_parameters() == num_parameters


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="3 multipliers need height and width divisible by 4, "):
        DDPM(DDPMConfig(multipliers=(1, 1, 1)), images(1, 6, 6, 5))
    with pytest.raises(ValueError, match="width must be even, got 7"):
        DDPMConfig(width=7)
    with pytest.raises(ValueError, match="width must be a multiple of heads, got 6 and 4"):
        IDDPMConfig(width=6)
    options = DDPMConfig.sampling.model_validate({"steps": 200})
    reason = DDPMConfig().unsupported_sampling(options, POINT)
    assert reason == "steps must be at most num_steps=100, got 200"
    ladder = DDPMConfig(num_steps=10).sampling_ladder(POINT)
    assert [rung.options["steps"] for rung in ladder] == [2, 4, 8]
