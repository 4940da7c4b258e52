from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowbench_models.bijections.splines import RationalQuadraticSpline

BINS, BOUND = 5, 3.0


@pytest.fixture
def law() -> RationalQuadraticSpline:
    return RationalQuadraticSpline(BINS, BOUND)


@pytest.fixture
def parameters(law: RationalQuadraticSpline) -> Tensor:
    """Those of one element, far from the identity."""
    return 2.0 * torch.randn(1, law.num_parameters, dtype=torch.float64)


def _at(values: list[float] | Tensor, law: RationalQuadraticSpline, parameters: Tensor) -> Tensor:
    """Values of one element, and its log-derivative: shape (2, N)."""
    x = torch.as_tensor(values, dtype=torch.float64).unsqueeze(1)
    z, log_derivative = law(x, parameters.expand(len(x), -1))
    return torch.cat((z, log_derivative), dim=1).T


def _knots(law: RationalQuadraticSpline, parameters: Tensor) -> Tensor:
    """Data, latents and derivatives at the knots: shape (3, K + 1)."""
    return law._knots(parameters, 1)[0, :, :, 0]


def test_it_passes_through_its_knots_with_their_derivatives(
    law: RationalQuadraticSpline, parameters: Tensor
) -> None:
    x, z, derivatives = _knots(law, parameters)
    found, log_derivatives = _at(x, law, parameters)
    torch.testing.assert_close(found, z, rtol=0, atol=1e-12)
    torch.testing.assert_close(log_derivatives.exp(), derivatives, rtol=1e-10, atol=0)
    assert (x[1:] - x[:-1] >= 2 * BOUND * 1e-3).all()
    assert (z[1:] - z[:-1] >= 2 * BOUND * 1e-3).all()


@pytest.mark.parametrize("side", [-1e-12, 1e-12])
def test_values_and_derivatives_are_continuous_at_knots_and_at_the_tails(
    side: float, law: RationalQuadraticSpline, parameters: Tensor
) -> None:
    x, _, _ = _knots(law, parameters)
    assert x[0] == -BOUND
    assert x[-1] == BOUND
    near, at = _at(x + side, law, parameters), _at(x, law, parameters)
    torch.testing.assert_close(near, at, rtol=0, atol=1e-5)


@pytest.mark.parametrize("x", [-7.0, -BOUND, BOUND, 3.5, 1e30])
def test_outside_and_at_the_bounds_it_is_the_identity(
    x: float, law: RationalQuadraticSpline, parameters: Tensor
) -> None:
    assert _at([x], law, parameters).flatten().tolist() == [x, 0.0]
    z = torch.tensor([[x]], dtype=torch.float64)
    assert law.inverse(z, parameters).item() == x


def test_inverse_and_derivative_hold_everywhere(
    law: RationalQuadraticSpline, parameters: Tensor
) -> None:
    knots = _knots(law, parameters)[0]
    x = torch.cat((torch.linspace(-4, 4, 101, dtype=torch.float64), knots)).requires_grad_()
    z, log_derivative = _at(x, law, parameters)
    (derivative,) = torch.autograd.grad(z.sum(), x)
    torch.testing.assert_close(log_derivative, derivative.log(), rtol=0, atol=1e-8)
    back = law.inverse(z.detach().unsqueeze(1), parameters.expand(len(x), -1))
    torch.testing.assert_close(back.squeeze(1), x.detach(), rtol=0, atol=1e-6)
    again, _ = law(back, parameters.expand(len(x), -1))
    torch.testing.assert_close(again.squeeze(1), z.detach(), rtol=0, atol=1e-9)


def test_gradients_stay_finite_far_outside_and_at_extreme_parameters() -> None:
    law = RationalQuadraticSpline(BINS, BOUND)
    x = torch.tensor([[-1e6, -BOUND, 0.0, 0.5, BOUND, 1e6]], requires_grad=True)
    raw = (100.0 * torch.randn(1, law.num_parameters * 6)).requires_grad_()
    z, log_derivative = law(x, raw)
    (z.sum() + log_derivative.sum()).backward()
    assert x.grad is not None
    assert raw.grad is not None
    assert x.grad.isfinite().all()
    assert raw.grad.isfinite().all()


def test_images_are_transformed_value_by_value(law: RationalQuadraticSpline) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    raw = torch.randn(2, law.num_parameters * 3, 4, 5, dtype=torch.float64)
    z, log_derivative = law(x, raw)
    one = (slice(1, 2), slice(2, 3), 3, 1)
    alone = raw.view(2, -1, 3, 4, 5)[1, :, 2, 3, 1].view(1, -1)
    found, log_found = law(x[one], alone)
    torch.testing.assert_close(z[one], found)
    torch.testing.assert_close(log_derivative[one], log_found)


def test_raw_bins_are_divided_by_the_root_of_the_networks_width() -> None:
    raw, x = torch.randn(1, 14, dtype=torch.float64), torch.tensor([[0.3]], dtype=torch.float64)
    divided = torch.cat((raw[:, :10] / 4.0, raw[:, 10:]), dim=1)
    torch.testing.assert_close(
        RationalQuadraticSpline(BINS, BOUND, width=16)(x, raw),
        RationalQuadraticSpline(BINS, BOUND)(x, divided),
    )
