from __future__ import annotations

import pytest
import torch
from torch.optim.swa_utils import update_bn

from flowbench_models.bijections import BatchNorm, checkerboard_mask


def _settled(norm: BatchNorm) -> BatchNorm:
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    return norm.double().eval()


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 4)])
def test_is_a_bijection_in_evaluation(shape, assert_is_bijection) -> None:
    assert_is_bijection(_settled(BatchNorm(3)), torch.randn(shape, dtype=torch.float64))


def test_masked_norm_is_a_bijection_and_leaves_the_rest_alone(assert_is_bijection) -> None:
    mask = checkerboard_mask(2, 4, even=True)
    norm, x = _settled(BatchNorm(3, mask)), torch.randn(4, 3, 2, 4, dtype=torch.float64)
    assert_is_bijection(norm, x)
    assert torch.equal(norm(x)[0][..., mask[0] == 0], x[..., mask[0] == 0])


def test_training_normalises_the_batch_and_learns_its_statistics() -> None:
    norm = BatchNorm(3, momentum=None)
    x = 4.0 + 3.0 * torch.randn(512, 3, 2, 2)
    z, ladj = norm(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(3), rtol=0, atol=1e-2)
    torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(norm.eval()(x)[1], ladj)


def test_statistics_are_those_of_the_masked_elements_alone() -> None:
    mask = torch.tensor([0.0, 1.0]).view(2, 1, 1)
    norm = BatchNorm(2, mask, momentum=None)
    x = torch.randn(64, 2, 4, 4) + 3.0
    norm(x)
    torch.testing.assert_close(norm.running_mean[1], x[:, 1].mean())
    assert norm.running_mean[0] == 0


def test_torch_can_re_estimate_its_statistics_for_averaged_weights() -> None:
    norm = BatchNorm(2)
    batches = [5.0 + torch.randn(64, 2) for _ in range(4)]
    update_bn(batches, norm)
    torch.testing.assert_close(norm.running_mean, torch.cat(batches).mean(0))
