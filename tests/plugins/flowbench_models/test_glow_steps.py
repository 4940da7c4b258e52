from __future__ import annotations

import weakref

import pytest
import torch

from flowbench_models.bijections import (
    ActNorm,
    Composition,
    FullConv1x1,
    HalfCoupling,
    PLUConv1x1,
    Shift,
    SigmoidAffine,
)
from flowbench_models.bijections.elementwise import ElementwiseMap
from flowbench_models.glow_steps import GlowStep, GlowSteps
from flowbench_models.nets.convnet import GlowConvNet


def _steps(mixing, num_steps: int = 3, law: type[ElementwiseMap] = SigmoidAffine) -> GlowSteps:
    return GlowSteps(
        GlowStep(
            ActNorm(3),
            mixing(3),
            HalfCoupling(law(), GlowConvNet(2, law.num_parameters, width=4), swap=False),
        )
        for _ in range(num_steps)
    )


@pytest.fixture(params=[PLUConv1x1, FullConv1x1])
def steps(request: pytest.FixtureRequest, perturb) -> GlowSteps:
    return perturb(_steps(request.param), std=0.1)


def test_steps_are_a_bijection_of_odd_channels(steps, assert_is_bijection) -> None:
    assert_is_bijection(steps, torch.randn(2, 3, 2, 4, dtype=torch.float64))


def test_steps_together_equal_steps_one_after_the_other(steps) -> None:
    x = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    torch.testing.assert_close(steps(x), Composition(steps.steps())(x), check_stride=False)


def test_gradients_of_steps_together_equal_those_one_after_the_other(steps) -> None:
    x = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    parameters = list(steps.parameters())
    together, apart = (
        torch.autograd.grad((z.square().sum() + ladj.sum()), parameters)
        for z, ladj in (steps(x), Composition(steps.steps())(x))
    )
    torch.testing.assert_close(together, apart)


def test_additive_steps_together_equal_steps_one_after_the_other(
    perturb, assert_is_bijection
) -> None:
    steps = perturb(_steps(PLUConv1x1, law=Shift), std=0.1)
    x = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    torch.testing.assert_close(steps(x), Composition(steps.steps())(x), check_stride=False)
    assert_is_bijection(steps, x)


def test_zeros_of_additive_couplings_are_not_kept() -> None:
    zeros, alive = [], []

    class Watched(Shift):
        def forward(self, x, parameters):
            z, log_derivative = super().forward(x, parameters)
            alive.append(sum(reference() is not None for reference in zeros))
            zeros.append(weakref.ref(log_derivative))
            return z, log_derivative

    _steps(PLUConv1x1, num_steps=4, law=Watched)(torch.randn(2, 3, 2, 4))
    assert max(alive) == 1  # that of the step before


def test_initialisation_leaves_every_actnorm_normalised() -> None:
    steps = _steps(PLUConv1x1)
    x = 5.0 + 2.0 * torch.randn(64, 3, 4, 4)
    z = steps.initialize(x)
    torch.testing.assert_close(z, steps(x)[0], rtol=0, atol=1e-4)
    for step in steps.steps():
        normalised, _ = step.norm(x)
        torch.testing.assert_close(normalised.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
        x, _ = step(x)
