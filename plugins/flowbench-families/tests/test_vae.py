"""The variational autoencoder: bounds against what is known in closed form."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from flowbench.api import Batch, Step, split_info, standard_normal_log_prob
from forms import images, vectors
from torch import Tensor
from torch.autograd.functional import jacobian
from torch.distributions import MultivariateNormal

from flowbench_families.vae.config import VECTORS, VAEConfig
from flowbench_families.vae.layers import LARGEST_LOG_SCALE, LatentLayer
from flowbench_families.vae.model import VAE

NUM_DIMS, NUM_LATENTS, WIDTH = 3, 2, 8
NOISE = 0.3
MEAN = torch.tensor([0.2, -1.0, 0.5], dtype=torch.float64)
# Orthogonal columns: the posterior's covariance is diagonal, as the model's is.
LOADINGS = torch.tensor([[1.0, 0.5], [1.0, -0.5], [0.0, 0.0]], dtype=torch.float64)


def _linear(scale: float = 1.0) -> VAE:
    """A linear Gaussian model with its own posterior, but for a factor on its scale."""
    config = VAEConfig(width=WIDTH, blocks=0, layers=1, latents=NUM_LATENTS, preprocessing=VECTORS)
    model = VAE(config, vectors(NUM_DIMS)).double()
    precision = LOADINGS.square().sum(dim=0) / NOISE**2 + 1.0
    gain = LOADINGS.T / NOISE**2 / precision[:, None]
    log_scale = (scale * precision.rsqrt()).log() / LARGEST_LOG_SCALE
    layer = model.layers[0]
    assert isinstance(layer, LatentLayer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.enter.weight[:NUM_DIMS, :, 0, 0] = torch.eye(NUM_DIMS)
        seen = slice(WIDTH, WIDTH + NUM_DIMS)
        layer.posterior.weight[:NUM_LATENTS, seen, 0, 0] = gain
        assert layer.posterior.bias is not None
        layer.posterior.bias[:NUM_LATENTS] = -gain @ MEAN
        layer.posterior.bias[NUM_LATENTS:] = LARGEST_LOG_SCALE * log_scale.atanh()
        layer.enter.weight[:NUM_LATENTS, :, 0, 0] = torch.eye(NUM_LATENTS)
        assert model.leave.bias is not None
        model.leave.weight[:NUM_DIMS, :NUM_LATENTS, 0, 0] = LOADINGS
        model.leave.bias[:NUM_DIMS] = MEAN
        model.leave.bias[NUM_DIMS:] = math.log(NOISE)
    return model


def _marginal(x: Tensor) -> Tensor:
    covariance = LOADINGS @ LOADINGS.T + NOISE**2 * torch.eye(NUM_DIMS, dtype=torch.float64)
    log_p: Tensor = MultivariateNormal(MEAN, covariance).log_prob(x)
    return log_p


def _weights(model: VAE, x: Tensor, num: int) -> Tensor:
    """Log-weights (num, B) of so many draws of each example."""
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        many = x.unsqueeze(0).expand(num, *x.shape).flatten(0, 1)
        return model.log_prob(many, generator=noise).view(num, len(x))


def _examples() -> Tensor:
    torch.manual_seed(0)
    return MEAN + torch.randn(5, NUM_DIMS, dtype=torch.float64)


def test_with_its_own_posterior_a_linear_model_knows_its_marginal_from_one_draw() -> None:
    x = _examples()
    weights = _weights(_linear(), x, 3)
    torch.testing.assert_close(weights, _marginal(x).expand(3, -1), rtol=1e-10, atol=1e-10)


def test_more_draws_tighten_the_bound_of_another_posterior() -> None:
    x = _examples()
    weights = _weights(_linear(scale=1.5), x, 4096)
    # Of 4096 draws bounds by 1, 8, 64 and 4096 at a time.
    bounds = [
        (weights.view(-1, k, len(x)).logsumexp(dim=1) - math.log(k)).mean(dim=0)
        for k in (1, 8, 64, 4096)
    ]
    for looser, tighter in itertools.pairwise(bounds):
        assert (looser < tighter).all()
    assert (bounds[0] < _marginal(x) - 0.1).all()
    torch.testing.assert_close(bounds[-1], _marginal(x), rtol=0, atol=0.03)


def test_samples_of_a_linear_model_have_its_mean_and_covariance() -> None:
    model, num = _linear(), 40_000
    noise = torch.Generator().manual_seed(2)
    x = model.sample(num, settings=model.config.sampling(), generator=noise)
    expected = LOADINGS @ LOADINGS.T + NOISE**2 * torch.eye(NUM_DIMS, dtype=torch.float64)
    torch.testing.assert_close(x.mean(dim=0), MEAN, rtol=0, atol=0.03)
    torch.testing.assert_close(x.T.cov(), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("flow_steps", [0, 1, 3])
def test_a_posterior_has_the_density_of_its_draws(
    flow_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the Jacobian of latents by noise, in float64."""
    torch.manual_seed(flow_steps)
    shape = (2, 3, 2)  # latents, height, width
    layer = LatentLayer(2, 2, shape[1:], flow_steps=flow_steps, flow_width=16).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for parameter in layer.prior.parameters():  # then z is u
            parameter.zero_()
        layer.enter.weight.zero_()
        layer.enter.weight[:, :, 1, 1] = torch.eye(2)
    layer.enter.bias = None
    h, seen, noise = torch.randn(3, 1, *shape, dtype=torch.float64).unbind()

    def latents(given: Tensor) -> Tensor:
        monkeypatch.setattr(torch, "randn", lambda *_, **__: given)
        return layer.infer(h, seen, None)[0] - h

    slopes = jacobian(latents, noise).view(12, 12)
    log_q = standard_normal_log_prob((noise,)) - torch.linalg.slogdet(slopes).logabsdet
    expected = standard_normal_log_prob((latents(noise),)) - log_q
    torch.testing.assert_close(layer.infer(h, seen, None)[1], expected)


@pytest.mark.parametrize("flow_steps", [0, 2])
def test_weights_of_all_images_sum_to_one(flow_steps: int) -> None:
    torch.manual_seed(0)
    config = VAEConfig(width=4, components=2, latents=1, flow_steps=flow_steps, flow_width=8)
    model = VAE(config, images(1, 1, 2, 3)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for layer in model.layers:
            assert isinstance(layer, LatentLayer)
            layer.posterior.weight.mul_(0.3)
            assert layer.posterior.bias is not None
            layer.posterior.bias[1] = 0.6  # wider than the prior: weights have a variance
    states = torch.tensor(list(itertools.product(range(3), repeat=2))).view(9, 1, 1, 2)
    weights = _weights(model, states, 4000).exp()
    error = (weights.var(dim=0).sum() / len(weights)).sqrt()
    assert abs(weights.mean(dim=0).sum() - 1.0) < 4 * error
    assert error < 0.03


@pytest.mark.parametrize(
    ("size", "maps"),
    [((8, 8), [4, 4, 2, 2]), ((28, 28), [14, 14, 7, 7]), ((5, 5), [5, 5]), ((2, 2), [2, 2])],
)
def test_latents_lie_at_each_halving(size: tuple[int, int], maps: list[int]) -> None:
    model = VAE(VAEConfig(width=4, layers=2), images(1, *size, 4))
    x = torch.randint(4, (2, 1, *size))
    h, found = model.enter(model.law.values(x, torch.float32)), []
    for up in model.ups:
        h = up(h)
        found.append(h.shape[-1])
    assert found == maps
    drawn = model.sample(
        2, settings=model.config.sampling(), generator=torch.Generator().manual_seed(0)
    )
    assert drawn.shape == x.shape


def test_free_bits_of_each_layer_cost_the_same() -> None:
    def loss(free_bits: float) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        model = VAE(VAEConfig(width=4, free_bits=free_bits), images(1, 8, 8, 4))
        x = torch.randint(4, (6, 1, 8, 8))
        step = Step(progress=torch.zeros(()), phase=0, group="all", generator=None, seed=0)
        value, info = split_info(model.loss(Batch(x=x), step))
        return value, info["rate_bits_per_dim"]

    (plain, rate), (free, same_rate) = loss(0.0), loss(1000.0)
    assert rate == same_rate
    # Two layers of 64 pixels, neither of which takes a thousand bits.
    torch.testing.assert_close(free, plain - rate + 2 * 1000.0 / 64)


def test_the_cost_of_latents_grows_while_training_warms_up() -> None:
    model = VAE(VAEConfig(width=4, warm_up=0.5), images(1, 8, 8, 4))
    x = torch.randint(4, (6, 1, 8, 8), generator=torch.Generator().manual_seed(0))

    def loss(progress: float) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        at = torch.tensor(progress)
        step = Step(progress=at, phase=0, group="all", generator=generator, seed=0)
        value, info = split_info(model.loss(Batch(x=x), step))
        return value, info["rate_bits_per_dim"]

    (start, rate), (halfway, _), (warm, _), (end, _) = map(loss, (0.0, 0.25, 0.5, 1.0))
    assert rate > 0
    torch.testing.assert_close(halfway, start + rate / 2)
    torch.testing.assert_close(warm, start + rate)
    assert torch.equal(warm, end)


def test_free_bits_want_a_whole_batch() -> None:
    assert VAEConfig().whole_batch is None
    assert VAEConfig(free_bits=1.0).whole_batch is not None


def test_what_it_does_not_take_is_refused() -> None:
    config = VAEConfig()
    reason = "vae takes images of integer levels, some-images has real values"
    assert config.unsupported(images(1, 8, 8, None)) == reason
    reason = "vae takes some-vectors under preprocessing.support=continuous"
    assert config.unsupported(vectors(2)) == reason
    assert VAEConfig(preprocessing=VECTORS).unsupported(vectors(2)) is None


def test_presets_go_by_size() -> None:
    given = (images(1, 8, 8, 17), images(3, 32, 32, 256), vectors(2))
    names = [VAEConfig.default_preset(data) for data in given]
    assert names == ["digits", "natural-patches", "vector"]
