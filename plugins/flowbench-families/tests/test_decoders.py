"""Probabilities of levels near numbers: they sum to 1, and keep their digits far away."""

from __future__ import annotations

import doctest
import math
from types import ModuleType

import pytest
import torch

from flowbench_families.diffusion import decoders, denoising, stepped
from flowbench_families.diffusion.decoders import binned_normal_log_prob, nearby_log_prob


@pytest.mark.parametrize("num", [2, 17, 256])
@pytest.mark.parametrize(("mean", "log_std"), [(0.3, -6.0), (-2.0, 0.0), (0.9, 3.0)])
def test_probabilities_sum_to_one(num: int, mean: float, log_std: float) -> None:
    levels = torch.arange(num)
    x = levels.double() * 2 / (num - 1) - 1
    at, wide = torch.tensor(mean).double(), torch.tensor(log_std).double()
    binned = binned_normal_log_prob(levels, x, at, wide, num)
    near = nearby_log_prob(levels, at.expand(num), x, wide.exp())
    for log_p in (binned, near):
        torch.testing.assert_close(log_p.exp().sum().item(), 1.0, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("level", "mean"), [(100, 0.9), (200, -0.9), (0, 1.0), (255, -1.0)])
def test_bins_far_from_the_mean_keep_their_digits_and_a_gradient(level: int, mean: float) -> None:
    """There both sides of a bin are 0 or 1, even in float64."""
    levels = torch.tensor([level])
    x = levels * (2 / 255) - 1
    at = torch.tensor([mean]).requires_grad_()
    log_p = binned_normal_log_prob(levels, x, at, torch.tensor([math.log(0.01)]), 256)
    # A tail, by its first terms; of a bin its nearer end counts alone.
    near = (abs(float(x) - mean) - 1 / 255) / 0.01
    expected = -0.5 * near**2 - math.log(near * math.sqrt(2 * math.pi)) - 1 / near**2
    assert float(log_p.detach()) == pytest.approx(expected, rel=1e-4)
    (gradient,) = torch.autograd.grad(log_p.sum(), at)
    assert gradient.isfinite().all() and gradient.abs() > 1000


@pytest.mark.parametrize("module", [decoders, denoising, stepped])
def test_examples_give_what_they_show(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0
