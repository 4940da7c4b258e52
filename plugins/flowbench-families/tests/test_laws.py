"""Laws of the levels of a pixel: probabilities sum to 1, and samples follow them."""

from __future__ import annotations

import doctest
import itertools
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import nn

from flowbench_families import laws, mixtures
from flowbench_families.gan import model as gan
from flowbench_families.gan import nets
from flowbench_families.laws import Categorical, PixelLaw
from flowbench_families.mixtures import DiscretisedLogistics
from flowbench_families.vae import layers


def _mixture(levels: int, channels: int) -> PixelLaw:
    return DiscretisedLogistics(components=3, levels=levels, channels=channels)


def _categorical(levels: int, channels: int) -> PixelLaw:
    law = Categorical(levels=levels, channels=channels)
    torch.manual_seed(0)
    for move in law.moves:
        nn.init.normal_(move)
    return law.double()


makes = pytest.mark.parametrize("make", [_mixture, _categorical])
Make = Callable[[int, int], PixelLaw]


def _parameters(law: PixelLaw) -> torch.Tensor:
    torch.manual_seed(law.levels)
    return 2.0 * torch.randn(1, law.num_parameters, 1, 1, dtype=torch.float64)


def _probabilities(law: PixelLaw, parameters: torch.Tensor) -> torch.Tensor:
    """Of all pixels, in the order of their levels."""
    every = itertools.product(range(law.levels), repeat=law.channels)
    pixels = torch.tensor(list(every)).view(-1, law.channels, 1, 1)
    log_p = law.log_prob(pixels, parameters.expand(len(pixels), -1, -1, -1))
    return log_p.detach().exp().flatten()


@makes
@pytest.mark.parametrize(("levels", "channels"), [(2, 1), (256, 1), (2, 4), (5, 2), (9, 3)])
def test_probabilities_sum_to_one(make: Make, levels: int, channels: int) -> None:
    law = make(levels, channels)
    total = _probabilities(law, _parameters(law)).sum()
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-12, atol=0)


@makes
def test_samples_come_as_often_as_their_probabilities_say(make: Make) -> None:
    law, num = make(3, 2), 20_000
    parameters = _parameters(law)
    many = parameters.expand(num, -1, -1, -1)
    drawn = law.sample(many, 1.0, torch.Generator().manual_seed(1)).view(num, 2)
    found = torch.bincount(3 * drawn[:, 0] + drawn[:, 1], minlength=9) / num
    expected = _probabilities(law, parameters)
    errors = (expected * (1 - expected) / num).sqrt()
    assert ((found - expected).abs() < 4 * errors + 1e-4).all()


@makes
def test_a_low_temperature_draws_the_likeliest_alone(make: Make) -> None:
    law = make(17, 1)
    many = _parameters(law).expand(64, -1, -1, -1)
    drawn = law.sample(many, 1e-6, torch.Generator().manual_seed(1))
    assert drawn.unique().numel() == 1


def test_bins_far_from_every_mean_keep_their_probability_and_a_gradient() -> None:
    """Where a difference of sigmoids is 0 even in float64, its logarithm is not -inf."""
    law = DiscretisedLogistics(components=1, levels=256, channels=1)
    parameters = torch.tensor([0.0, -1.0, -6.0]).view(1, 3, 1, 1).requires_grad_()
    log_p = law.log_prob(torch.tensor(254).view(1, 1, 1, 1), parameters)
    # s(a) - s(b) is e^-b - e^-a there; the mean lies 254 bins away, and a bin is 2 / 255 wide.
    below = torch.tensor(253.5 * 2 / 255).double() * torch.tensor(6.0).double().exp()
    width = torch.tensor(2 / 255).double() * torch.tensor(6.0).double().exp()
    expected = -below + torch.log(-torch.expm1(-width))
    torch.testing.assert_close(log_p.double().squeeze(), expected, rtol=1e-5, atol=0)
    (gradient,) = torch.autograd.grad(log_p.sum(), parameters)
    assert gradient.isfinite().all()


def test_a_channel_moves_the_means_of_those_after_it_alone() -> None:
    law = _mixture(9, 3)
    parameters = _parameters(law)
    law_of_first = _probabilities(law, parameters).view(9, 9, 9)
    changed = parameters.clone()
    changed[:, -3 * 3 :] += 1.0  # all factors
    after = _probabilities(law, changed).view(9, 9, 9)
    torch.testing.assert_close(after.sum((1, 2)), law_of_first.sum((1, 2)))
    assert not torch.allclose(after.sum((0, 2)), law_of_first.sum((0, 2)))


@pytest.mark.parametrize("module", [laws, mixtures, gan, nets, layers])
def test_examples_give_what_they_show(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0
