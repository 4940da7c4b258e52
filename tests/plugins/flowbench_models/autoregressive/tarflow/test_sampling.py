from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal

from flowbench_models.autoregressive.tarflow.sampling import denoise, held_fixed


def test_a_gaussian_is_denoised_to_its_posterior_mean() -> None:
    """x ~ N(m, C), y = x + sigma e: E[x | y] = m + C (C + sigma^2)^-1 (y - m)."""
    torch.manual_seed(0)
    root = torch.randn(3, 3, dtype=torch.float64)
    covariance, mean, sigma = root @ root.T, torch.randn(3, dtype=torch.float64), 0.7
    noisy = covariance + sigma**2 * torch.eye(3, dtype=torch.float64)
    density = MultivariateNormal(mean, noisy)
    y = torch.randn(5, 3, dtype=torch.float64)
    expected = mean + (y - mean) @ torch.linalg.solve(noisy, covariance)
    with torch.no_grad():
        got = denoise(y, sigma, density.log_prob)
    torch.testing.assert_close(got, expected)
    assert not got.requires_grad


def test_parameters_are_held_fixed_and_released_again() -> None:
    layer = torch.nn.Linear(2, 2)
    layer.bias.requires_grad_(False)

    def interrupted() -> None:
        with held_fixed(layer):
            assert not any(parameter.requires_grad for parameter in layer.parameters())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert layer.weight.requires_grad
    assert not layer.bias.requires_grad
