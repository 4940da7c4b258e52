from __future__ import annotations

import pytest
import torch

from flowbench_models.bijections import ElementwiseMap, Shift, SigmoidAffine, TanhAffine
from flowbench_models.bijections.bounded_affine import BoundedAffine

LAWS = {
    "shift": Shift,
    "sigmoid": SigmoidAffine,
    "tanh": lambda: TanhAffine(0.7),
    "bounded": BoundedAffine,
}


@pytest.fixture(params=LAWS.values(), ids=LAWS.keys())
def law(request: pytest.FixtureRequest) -> ElementwiseMap:
    return request.param().double()


def test_derivative_is_that_of_autograd_and_the_inverse_inverts(law) -> None:
    x = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    parameters = torch.randn(4, 3 * law.num_parameters, 2, dtype=torch.float64)
    z, log_derivative = law(x, parameters)
    (derivative,) = torch.autograd.grad(z.sum(), x)
    torch.testing.assert_close(log_derivative, derivative.log())
    torch.testing.assert_close(law.inverse(z, parameters), x)


@pytest.mark.parametrize(
    ("size", "layout"),
    [
        ((), torch.contiguous_format),
        ((2, 2), torch.contiguous_format),
        ((2, 2), torch.channels_last),
    ],
)
def test_gradients_of_data_and_parameters(law, size, layout) -> None:
    x = torch.randn(2, 3, *size).double().contiguous(memory_format=layout)
    parameters = torch.randn(2, 3 * law.num_parameters, *size).double()
    parameters = parameters.contiguous(memory_format=layout)
    inputs = (x.requires_grad_(), parameters.requires_grad_())
    assert torch.autograd.gradcheck(law, inputs)
    assert torch.autograd.gradcheck(law.inverse, inputs)


def test_sigmoid_scale_stays_below_one() -> None:
    x = torch.randn(4, 1)
    assert (SigmoidAffine()(x, 50 * torch.randn(4, 2))[1] <= 0).all()


def test_sigmoid_scale_is_finite_and_inverts_far_from_the_start() -> None:
    law, x = SigmoidAffine(), torch.ones(1, 1)
    for raw in (-200.0, -40.0, 40.0):
        z, log_derivative = law(x, torch.tensor([[0.0, raw]]))
        assert log_derivative.isfinite().all()
        assert log_derivative.item() == pytest.approx(max(min(raw + 2.0, 0.0), -87.34), abs=0.01)
        torch.testing.assert_close(law.inverse(z, torch.tensor([[0.0, raw]])), x)


def test_tanh_affine_without_gain_preserves_volume() -> None:
    _, log_derivative = TanhAffine(0.0)(torch.randn(4, 3), torch.randn(4, 6))
    assert torch.equal(log_derivative, torch.zeros(4, 3))
