from __future__ import annotations

import torch

from flowbench_models.bijections.bounded_affine import BoundedAffine


def test_inverse_and_derivative() -> None:
    x, parameters = torch.randn(2, 3, 4).double(), 3.0 * torch.randn(2, 6, 4).double()
    law = BoundedAffine()
    z, log_derivative = law(x, parameters)
    torch.testing.assert_close(law.inverse(z, parameters), x)
    raw, shift = parameters.chunk(2, dim=1)
    torch.testing.assert_close(log_derivative, 2.0 * torch.tanh(raw / 2.0))
    torch.testing.assert_close(z, shift + log_derivative.exp() * x)


def test_scale_is_bounded_and_starts_at_one() -> None:
    parameters = torch.tensor([[1e3, -1e3, 0.0, 0.0, 0.0, 0.0]])
    _, log_scale = BoundedAffine()(torch.zeros(1, 3), parameters)
    torch.testing.assert_close(log_scale, torch.tensor([[2.0, -2.0, 0.0]]))
