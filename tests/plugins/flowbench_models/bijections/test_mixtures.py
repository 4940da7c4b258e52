from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowbench_models.bijections.mixtures import MixtureOfLogistics


def _parameters(num_components: int, spread: float, dtype: torch.dtype) -> Tensor:
    return spread * torch.randn(3, 4 * (2 + 3 * num_components), 2, 2, dtype=dtype)


@pytest.mark.parametrize("spread", [0.5, 3.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_inverse_is_closer_than_stated(spread: float, dtype: torch.dtype, tolerance: float) -> None:
    law, parameters = MixtureOfLogistics(5), _parameters(5, spread, dtype)
    x = 3.0 * torch.randn(3, 4, 2, 2, dtype=dtype)
    z, log_derivative = law(x, parameters)
    # Where the map is nearly flat, rounding of z alone moves x.
    rounding = torch.finfo(dtype).eps * (1.0 + z.abs()) * (-log_derivative).exp()
    error = (law.inverse(z, parameters) - x).abs()
    assert (error <= tolerance + 100.0 * rounding).all()
    if dtype == torch.float64 and spread == 0.5:
        assert error.max() < 1e-6


def test_derivative_is_that_of_autograd() -> None:
    law, parameters = MixtureOfLogistics(3), _parameters(3, 1.0, torch.float64)
    x = torch.randn(3, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    z, log_derivative = law(x, parameters)
    (derivative,) = torch.autograd.grad(z.sum(), x)
    torch.testing.assert_close(log_derivative, derivative.log())


def test_cdf_is_that_of_the_mixture() -> None:
    law, parameters = MixtureOfLogistics(2), _parameters(2, 1.0, torch.float64)
    x = torch.randn(3, 4, 2, 2, dtype=torch.float64)
    raw, shift, *weights, a, b, c, d = parameters.unflatten(1, (8, 4)).unbind(1)
    first, second = torch.stack(weights).softmax(dim=0)
    cdf = first * ((x - a) / c.exp()).sigmoid() + second * ((x - b) / d.exp()).sigmoid()
    expected = (cdf.logit() + shift) * raw.tanh().exp()
    torch.testing.assert_close(law(x, parameters)[0], expected)


def test_far_out_values_keep_finite_densities() -> None:
    law = MixtureOfLogistics(2)
    parameters = torch.zeros(1, 8)
    z, log_derivative = law(torch.tensor([[-1e4, 1e4]])[:, :1], parameters)
    assert z.isfinite().all()
    assert log_derivative.isfinite().all()
    torch.testing.assert_close(law.inverse(z, parameters), torch.tensor([[-1e4]]))


def test_rescaling_multiplies_the_log_scale_of_each_channel() -> None:
    law = MixtureOfLogistics(1, rescale=2).double()
    assert law.magnitude is not None
    law.magnitude.data = torch.tensor([1.0, 0.5], dtype=torch.float64)
    parameters = torch.zeros(1, 10, dtype=torch.float64)
    parameters[:, :2] = 0.7  # raw log-scales
    _, log_derivative = law(torch.zeros(1, 2, dtype=torch.float64), parameters)
    expected = torch.tensor([[1.0, 0.5]], dtype=torch.float64) * torch.tanh(parameters[:, :2])
    torch.testing.assert_close(log_derivative, expected)
