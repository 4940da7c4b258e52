from __future__ import annotations

import pytest
import torch

from flowbench_models.bijections import (
    FullConv1x1,
    Permutation,
    PLUConv1x1,
    interleaved_order,
)

convolutions = pytest.mark.parametrize("make", [PLUConv1x1, FullConv1x1])


@convolutions
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_convolution_is_a_bijection(make, channels, assert_is_bijection, perturb) -> None:
    x = torch.randn(3, channels, 2, 3, dtype=torch.float64)
    assert_is_bijection(perturb(make(channels)), x)


@convolutions
def test_convolution_starts_as_a_rotation(make) -> None:
    matrices, log_abs_dets = make.matrices([make(6), make(6)])
    identity = torch.eye(6).expand(2, 6, 6)
    torch.testing.assert_close(matrices @ matrices.mT, identity, rtol=0, atol=1e-5)
    torch.testing.assert_close(log_abs_dets, torch.zeros(2), rtol=0, atol=1e-5)


@convolutions
def test_inverse_matrix_inverts(make, perturb) -> None:
    convolution = perturb(make(5))
    product = make.matrices([convolution])[0][0] @ convolution.inverse_matrix()
    torch.testing.assert_close(product, torch.eye(5, dtype=torch.float64))


@pytest.mark.parametrize(("make", "expected"), [(PLUConv1x1, 2 * 12**2 + 12), (FullConv1x1, 144)])
def test_parameters_are_counted_as_released(make, expected) -> None:
    assert sum(p.numel() for p in make(12).parameters()) == expected


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 2, 3)])
def test_permutation_is_a_bijection(shape, assert_is_bijection) -> None:
    assert_is_bijection(Permutation([2, 0, 3, 1]), torch.randn(shape, dtype=torch.float64))


def test_interleaved_order_puts_even_positions_first() -> None:
    z, _ = Permutation(interleaved_order(5))(torch.arange(5.0).view(1, 5))
    assert z.tolist() == [[0, 2, 4, 1, 3]]
