from __future__ import annotations

import math

import pytest
import torch

from flowbench_models.bijections.levels import LevelScaling


@pytest.mark.parametrize("alpha", [None, 0.05])
def test_is_a_bijection(alpha, assert_is_bijection) -> None:
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
