from __future__ import annotations

import torch

from flowbench_models.bijections import DiagonalScaling


def test_is_a_bijection(assert_is_bijection, perturb) -> None:
    assert_is_bijection(perturb(DiagonalScaling(5)), torch.randn(3, 5, dtype=torch.float64))
