from __future__ import annotations

import pytest
import torch

from flowbench_models.bijections import ActNorm


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 4), (4, 5, 3, 2)])
def test_is_a_bijection(shape, assert_is_bijection, perturb) -> None:
    x = torch.randn(shape, dtype=torch.float64)
    assert_is_bijection(perturb(ActNorm(shape[1])), x)


def test_first_batch_leaves_with_mean_0_and_std_1_in_each_channel() -> None:
    x = torch.tensor([1.0, -7.0, 100.0]).view(1, 3, 1, 1) + 9.0 * torch.randn(16, 3, 4, 6)
    z = ActNorm(3).initialize(x)
    std, mean = torch.std_mean(z, dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(std, torch.ones(3), rtol=0, atol=1e-4)


def test_second_initialisation_changes_nothing() -> None:
    norm = ActNorm(3)
    norm.initialize(torch.randn(16, 3))
    before = norm.shift.detach().clone()
    norm.initialize(5.0 + torch.randn(16, 3))
    assert torch.equal(norm.shift, before)


def test_checkpoint_remembers_that_it_was_initialised() -> None:
    norm = ActNorm(3)
    norm.initialize(torch.randn(16, 3))
    restored = ActNorm(3)
    restored.load_state_dict(norm.state_dict())
    assert bool(restored.initialized)


def test_constant_channel_stays_finite() -> None:
    assert torch.isfinite(ActNorm(2).initialize(torch.ones(8, 2))).all()


def test_affine_form_is_the_map_itself(perturb) -> None:
    norms = [perturb(ActNorm(3)) for _ in range(2)]
    x = torch.randn(5, 3, dtype=torch.float64)
    _, scales, offsets = ActNorm.as_affine(norms)
    for norm, scale, offset in zip(norms, scales, offsets, strict=True):
        torch.testing.assert_close(x * scale + offset, norm(x)[0])
