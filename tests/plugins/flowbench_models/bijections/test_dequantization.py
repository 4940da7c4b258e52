from __future__ import annotations

import torch
from torch import Tensor

from flowbench_models.bijections.dequantization import VariationalDequantizer


def _dequantizer(perturb) -> VariationalDequantizer:
    dequantizer = VariationalDequantizer(
        1, levels=17, steps=2, width=3, depth=1, growth=2, context_growth=2
    )
    return perturb(dequantizer)


def test_size_is_that_of_the_released_code() -> None:
    with torch.device("meta"):
        dequantizer = VariationalDequantizer(
            3, levels=256, steps=4, width=64, depth=4, growth=64, context_growth=16
        )
    assert sum(p.numel() for p in dequantizer.parameters()) == 2_395_784


def test_ladj_is_that_of_the_map_from_noise(perturb, jacobian_log_abs_det) -> None:
    dequantizer = _dequantizer(perturb)
    x = torch.randint(0, 17, (1, 1, 4, 4)).double()
    noise = torch.randn(3, 4, 2, 2, dtype=torch.float64)

    def draw(event: Tensor) -> tuple[Tensor, Tensor]:
        u, ladj = dequantizer(x.expand(len(event), -1, -1, -1), event)
        return u, ladj

    u, ladj = draw(noise)
    assert u.shape == (3, 1, 4, 4)
    assert bool(((u > 0) & (u < 1)).all())
    expected = jacobian_log_abs_det(lambda event: draw(event)[0], noise)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-8)


def test_noise_depends_on_the_levels(perturb) -> None:
    dequantizer = _dequantizer(perturb)
    noise = torch.randn(1, 4, 2, 2, dtype=torch.float64)
    low, _ = dequantizer(torch.zeros(1, 1, 4, 4).double(), noise)
    high, _ = dequantizer(torch.full((1, 1, 4, 4), 16.0).double(), noise)
    assert not torch.allclose(low, high)


def test_fresh_dequantizer_is_a_rotated_logistic_of_gaussian_noise() -> None:
    dequantizer = VariationalDequantizer(
        1, levels=2, steps=1, width=2, depth=1, growth=1, context_growth=1
    )
    noise = torch.randn(2, 4, 1, 1)
    u, ladj = dequantizer(torch.zeros(2, 1, 2, 2), noise)
    logits = u.logit().flatten(1)
    torch.testing.assert_close(logits.norm(dim=1), noise.flatten(1).norm(dim=1))
    torch.testing.assert_close(ladj, (u * (1.0 - u)).log().sum(dim=(1, 2, 3)))
