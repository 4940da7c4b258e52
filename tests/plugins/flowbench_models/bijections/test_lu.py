from __future__ import annotations

import pytest
import torch

from flowbench_models.bijections.base import Bijection, Composition, HalfCoupling, SigmoidAffine
from flowbench_models.bijections.channels import ActNorm, FlowStep, FlowSteps
from flowbench_models.bijections.lu import LinearSteps, LULinear
from flowbench_models.nets.convolution import ZeroConv2d
from tests.plugins.flowbench_models.fixtures import AssertIsBijection, Perturb


@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 2, 3), (3, 1)])
def test_it_is_a_bijection_of_vectors_and_of_channels(
    shape: tuple[int, ...], perturb: Perturb, assert_is_bijection: AssertIsBijection
) -> None:
    linear = perturb(LULinear(shape[1]))
    assert_is_bijection(linear, torch.randn(shape, dtype=torch.float64))


def test_it_starts_as_the_permutation_that_was_drawn() -> None:
    linear, x = LULinear(6), torch.randn(4, 6)
    z, ladj = linear(x)
    torch.testing.assert_close(z, x[:, linear.source])
    torch.testing.assert_close(ladj, torch.zeros(4))


def test_only_triangles_are_stored_and_the_permutation_is_kept() -> None:
    linear = LULinear(5)
    assert sum(parameter.numel() for parameter in linear.parameters()) == 5**2 + 5
    other = LULinear(5)
    other.load_state_dict(linear.state_dict())
    x = torch.randn(2, 5)
    assert torch.equal(linear(x)[0], other(x)[0])


def test_lower_and_upper_are_packed_row_by_row(perturb: Perturb) -> None:
    linear = perturb(LULinear(4))
    lower, upper, diagonal = linear._triangles([linear])
    rows, columns = torch.tril_indices(4, 4, -1)
    torch.testing.assert_close(lower[0, rows, columns], linear.lower)
    rows, columns = torch.triu_indices(4, 4, 1)
    torch.testing.assert_close(upper[0, rows, columns], linear.upper)
    torch.testing.assert_close(upper[0].diagonal(), diagonal[0])
    assert torch.equal(lower[0].triu(), torch.eye(4, dtype=torch.float64))


def test_steps_fold_it_with_its_bias_into_one_map(perturb: Perturb) -> None:
    steps = [
        FlowStep(
            ActNorm(4), LULinear(4), HalfCoupling(SigmoidAffine(), ZeroConv2d(2, 4), swap=True)
        )
        for _ in range(2)
    ]
    folded, one_by_one = perturb(FlowSteps(steps)), Composition(steps)
    x = torch.randn(3, 4, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(folded(x), one_by_one(x))
    torch.testing.assert_close(folded.inverse(folded(x)[0]), x)


def test_matrices_made_at_once_are_those_made_one_by_one(perturb: Perturb) -> None:
    parts: list[Bijection] = [LULinear(4), ActNorm(4), LULinear(4), LULinear(4)]
    together = perturb(LinearSteps(parts))
    x = torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(together(x), Composition(parts)(x))
