from __future__ import annotations

import pytest
import torch

from flowbench_models.bijections import (
    ActNorm,
    Bijection,
    Composition,
    DiagonalScaling,
    Permutation,
    sum_event_dims,
)


def test_composition_adds_ladj_and_inverts_in_reverse_order(assert_is_bijection, perturb) -> None:
    composition = Composition([ActNorm(4), Permutation([2, 0, 3, 1]), DiagonalScaling(4)])
    assert_is_bijection(perturb(composition), torch.randn(3, 4, dtype=torch.float64))


def test_composition_initialises_each_part_from_the_output_of_those_before() -> None:
    composition = Composition([ActNorm(2), ActNorm(2)]).double()
    x = 3.0 + 5.0 * torch.randn(64, 2, dtype=torch.float64)
    z = composition.initialize(x)
    torch.testing.assert_close(z, composition(x)[0])
    second = composition.bijections[1]
    # What reaches the second actnorm is normalised already, so it has nothing left to do.
    torch.testing.assert_close(second.shift, torch.zeros_like(second.shift), rtol=0, atol=1e-5)
    torch.testing.assert_close(second.log_scale, torch.zeros_like(second.shift), rtol=0, atol=1e-5)


def test_empty_composition_is_the_identity() -> None:
    x = torch.randn(3, 2)
    z, ladj = Composition([])(x)
    assert torch.equal(z, x)
    assert torch.equal(ladj, torch.zeros(3))


def test_base_class_leaves_both_directions_to_its_subclasses() -> None:
    with pytest.raises(NotImplementedError):
        Bijection()(torch.zeros(1, 2))
    with pytest.raises(NotImplementedError):
        Bijection().inverse(torch.zeros(1, 2))


@pytest.mark.parametrize("shape", [(3, 5), (3, 2, 4, 5)])
def test_sum_event_dims_sums_all_but_the_batch(shape) -> None:
    x = torch.randn(shape)
    torch.testing.assert_close(sum_event_dims(x), x.flatten(1).sum(1))
