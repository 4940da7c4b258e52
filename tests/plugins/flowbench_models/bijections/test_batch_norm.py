from __future__ import annotations

import pytest
import torch
from torch.optim.swa_utils import update_bn

from flowbench_models.bijections.batch_norm import BatchNorm
from tests.plugins.flowbench_models.fixtures import AssertIsBijection, Perturb


def _settled(norm: BatchNorm) -> BatchNorm:
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    return norm.double().eval()


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 4)])
def test_is_a_bijection_in_evaluation(
    shape: tuple[int, ...], assert_is_bijection: AssertIsBijection
) -> None:
    assert_is_bijection(_settled(BatchNorm(3)), torch.randn(shape, dtype=torch.float64))


def test_masked_norm_is_a_bijection_and_leaves_the_rest_alone(
    assert_is_bijection: AssertIsBijection,
) -> None:
    mask = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]).unsqueeze(0)
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


def test_rescaled_norm_is_a_bijection(
    assert_is_bijection: AssertIsBijection, perturb: Perturb
) -> None:
    norm = _settled(perturb(BatchNorm(3, rescaled=True)))
    assert_is_bijection(norm, torch.randn(4, 3, 2, dtype=torch.float64))
    assert sum(parameter.numel() for parameter in norm.parameters()) == 2 * 3


def test_rescaled_norm_scales_what_it_normalised() -> None:
    norm = BatchNorm(2, rescaled=True)
    assert norm.log_gamma is not None
    assert norm.beta is not None
    norm.log_gamma.data.fill_(1.0)
    norm.beta.data.fill_(3.0)
    z, _ = norm(5.0 + 2.0 * torch.randn(256, 2))
    torch.testing.assert_close(z.mean(0), torch.full((2,), 3.0))
    torch.testing.assert_close(
        z.std(0, correction=0), torch.full((2,), 1.0).exp(), rtol=1e-3, atol=0
    )


def test_fitted_to_batches_it_is_as_if_they_were_one() -> None:
    norm, x = BatchNorm(2, rescaled=True), torch.randn(60, 2) * torch.tensor([1.0, 9.0]) + 4.0
    z, ladj = norm(x)
    norm.eval().fit(x.split([10, 30, 20]))
    torch.testing.assert_close(norm(x), (z, ladj))
