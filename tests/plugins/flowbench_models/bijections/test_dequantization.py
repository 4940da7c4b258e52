from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowbench_models.bijections.dequantization import DenseDequantizer, LevelScaling
from tests.plugins.flowbench_models.fixtures import AssertIsBijection, JacobianLogAbsDet, Perturb

CONTEXT = {"num_context": 2, "context_depth": 1, "context_growth": 2}


@pytest.mark.parametrize("alpha", [None, 0.05])
def test_is_a_bijection_of_levels(alpha: float, assert_is_bijection: AssertIsBijection) -> None:
    assert_is_bijection(LevelScaling(17, alpha), 17.0 * torch.rand(3, 2, 3, 3).double())


def test_centred_levels_cost_log_levels_a_dim() -> None:
    x = torch.tensor([[[[0.0, 256.0]]]])
    z, ladj = LevelScaling(256, None)(x)
    torch.testing.assert_close(z, torch.tensor([[[[-0.5, 0.5]]]]))
    torch.testing.assert_close(ladj, torch.tensor([-2.0 * math.log(256.0)]))


def test_logit_is_finite_at_both_ends() -> None:
    scaling = LevelScaling(256, 0.05)
    z, ladj = scaling(torch.tensor([[0.0, 256.0]]))
    assert z.isfinite().all()
    assert ladj.isfinite().all()
    torch.testing.assert_close(z[0, 1], -z[0, 0])


def _dequantizer(perturb: Perturb) -> DenseDequantizer:
    dequantizer = DenseDequantizer(
        (1, 4, 4), levels=17, steps=2, width=3, depth=1, growth=2, **CONTEXT
    )
    return perturb(dequantizer)


@pytest.mark.parametrize(
    ("num_context", "depth", "count"),
    [(64, 4, 2_395_784), (32, 10, 15_135_016)],
    ids=["denseflow", "survae"],
)
def test_size_is_that_of_the_released_code(num_context: int, depth: int, count: int) -> None:
    context = {"num_context": num_context, "context_depth": 4, "context_growth": 16}
    with torch.device("meta"):
        dequantizer = DenseDequantizer(
            (3, 32, 32), levels=256, steps=4, width=64, depth=depth, growth=64, **context
        )
    assert sum(p.numel() for p in dequantizer.parameters()) == count


def test_ladj_is_that_of_the_map_from_noise(
    perturb: Perturb, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    dequantizer = _dequantizer(perturb)
    x = torch.randint(0, 17, (1, 1, 4, 4)).double()
    noise = torch.randn(3, 4, 2, 2, dtype=torch.float64)

    def draw(event: Tensor) -> tuple[Tensor, Tensor]:
        z, ladj = dequantizer(x.expand(len(event), -1, -1, -1), event)
        return z - x, ladj

    u, ladj = draw(noise)
    assert u.shape == (3, 1, 4, 4)
    assert bool(((u > 0) & (u < 1)).all())
    expected = jacobian_log_abs_det(lambda event: draw(event)[0], noise)
    torch.testing.assert_close(ladj, expected, rtol=0, atol=1e-8)


def test_noise_depends_on_the_levels(perturb: Perturb) -> None:
    dequantizer = _dequantizer(perturb)
    noise = torch.randn(1, 4, 2, 2, dtype=torch.float64)
    low, _ = dequantizer(torch.zeros(1, 1, 4, 4).double(), noise)
    high, _ = dequantizer(torch.full((1, 1, 4, 4), 16.0).double(), noise)
    assert not torch.allclose(low, high - 16.0)


def test_rounding_gives_the_levels_back(perturb: Perturb) -> None:
    x = torch.randint(0, 17, (3, 1, 4, 4))
    dequantizer = _dequantizer(perturb)
    z, _ = dequantizer(x.double(), torch.randn(3, 4, 2, 2, dtype=torch.float64))
    assert torch.equal(dequantizer.inverse(z), x)


def test_what_is_not_finite_is_rounded_far_below_zero(perturb: Perturb) -> None:
    found = _dequantizer(perturb).inverse(torch.tensor([math.nan, -math.inf, -0.5, 16.99]))
    assert found.tolist() == [-(2**31), -(2**31), -1, 16]


def test_fresh_dequantizer_is_a_rotated_logistic_of_gaussian_noise() -> None:
    dequantizer = DenseDequantizer(
        (1, 2, 2), levels=2, steps=1, width=2, depth=1, growth=1, **CONTEXT
    )
    noise = torch.randn(2, 4, 1, 1)
    u, ladj = dequantizer(torch.zeros(2, 1, 2, 2), noise)
    logits = u.logit().flatten(1)
    torch.testing.assert_close(logits.norm(dim=1), noise.flatten(1).norm(dim=1))
    torch.testing.assert_close(ladj, (u * (1.0 - u)).log().sum(dim=(1, 2, 3)))
