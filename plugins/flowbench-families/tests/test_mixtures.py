from __future__ import annotations

import itertools

import pytest
import torch

from flowbench_families.mixtures import DiscretisedLogistics


def _law(levels: int, channels: int) -> tuple[DiscretisedLogistics, torch.Tensor]:
    law = DiscretisedLogistics(components=3, levels=levels, channels=channels)
    torch.manual_seed(levels)
    return law, 2.0 * torch.randn(1, law.num_parameters, 1, 1, dtype=torch.float64)


def _probabilities(law: DiscretisedLogistics, parameters: torch.Tensor) -> torch.Tensor:
    """Of all pixels, in the order of their levels."""
    every = itertools.product(range(law.levels), repeat=law.channels)
    pixels = torch.tensor(list(every)).view(-1, law.channels, 1, 1)
    log_p = law.log_prob(pixels, parameters.expand(len(pixels), -1, -1, -1))
    return log_p.exp().flatten()


@pytest.mark.parametrize(
    ("levels", "channels"), [(2, 1), (17, 1), (256, 1), (2, 4), (5, 2), (9, 3)]
)
def test_probabilities_sum_to_one(levels: int, channels: int) -> None:
    total = _probabilities(*_law(levels, channels)).sum()
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-12, atol=0)


def test_samples_come_as_often_as_their_probabilities_say() -> None:
    law, parameters = _law(3, 2)
    num = 20_000
    many = parameters.expand(num, -1, -1, -1)
    drawn = law.sample(many, 1.0, torch.Generator().manual_seed(1)).view(num, 2)
    found = torch.bincount(3 * drawn[:, 0] + drawn[:, 1], minlength=9) / num
    expected = _probabilities(law, parameters)
    errors = (expected * (1 - expected) / num).sqrt()
    assert ((found - expected).abs() < 4 * errors + 1e-4).all()


def test_a_low_temperature_draws_the_likeliest_component_alone() -> None:
    law, parameters = _law(17, 1)
    drawn = law.sample(parameters.expand(64, -1, -1, -1), 1e-6, torch.Generator().manual_seed(1))
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
    law, parameters = _law(9, 3)
    law_of_first = _probabilities(law, parameters).view(9, 9, 9)
    changed = parameters.clone()
    changed[:, -3 * 3 :] += 1.0  # all factors
    after = _probabilities(law, changed).view(9, 9, 9)
    torch.testing.assert_close(after.sum((1, 2)), law_of_first.sum((1, 2)))
    assert not torch.allclose(after.sum((0, 2)), law_of_first.sum((0, 2)))
