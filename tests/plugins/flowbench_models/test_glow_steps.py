from __future__ import annotations

import pytest
import torch

from flowbench_models.bijections import (
    ActNorm,
    Composition,
    FullConv1x1,
    HalfCoupling,
    PLUConv1x1,
    SigmoidAffine,
)
from flowbench_models.glow_steps import GlowStep, GlowSteps
from flowbench_models.nets.convnet import GlowConvNet


def _steps(mixing, num_steps: int = 3) -> GlowSteps:
    return GlowSteps(
        GlowStep(
            ActNorm(3),
            mixing(3),
            HalfCoupling(SigmoidAffine(), GlowConvNet(2, 2, width=4), swap=False),
        )
        for _ in range(num_steps)
    )


@pytest.fixture(params=[PLUConv1x1, FullConv1x1])
def steps(request, perturb) -> GlowSteps:
    return perturb(_steps(request.param), std=0.1)


def test_steps_are_a_bijection_of_odd_channels(steps, assert_is_bijection):
    assert_is_bijection(steps, torch.randn(2, 3, 2, 4, dtype=torch.float64))


def test_steps_together_equal_steps_one_after_the_other(steps):
    x = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    torch.testing.assert_close(steps(x), Composition(steps.steps())(x), check_stride=False)


def test_gradients_of_steps_together_equal_those_one_after_the_other(steps):
    x = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    parameters = list(steps.parameters())
    together, apart = (
        torch.autograd.grad((z.square().sum() + ladj.sum()), parameters)
        for z, ladj in (steps(x), Composition(steps.steps())(x))
    )
    torch.testing.assert_close(together, apart)


def test_initialisation_leaves_every_actnorm_normalised():
    steps = _steps(PLUConv1x1)
    x = 5.0 + 2.0 * torch.randn(64, 3, 4, 4)
    z = steps.initialize(x)
    torch.testing.assert_close(z, steps(x)[0], rtol=0, atol=1e-4)
    for step in steps.steps():
        normalised, _ = step.norm(x)
        torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
        x, _ = step(x)
