from __future__ import annotations

import pytest
import torch

from flowbench_models.bijections import (
    HalfCoupling,
    MaskedCoupling,
    Shift,
    SigmoidAffine,
    TanhAffine,
    checkerboard_mask,
    half_sizes,
)
from flowbench_models.nets.convnet import GlowConvNet
from flowbench_models.nets.mlp import MLP

LAWS = {"shift": Shift, "sigmoid": SigmoidAffine, "tanh": lambda: TanhAffine(0.5)}
laws = pytest.mark.parametrize("make_law", LAWS.values(), ids=LAWS.keys())


@laws
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("num_dims", [2, 5])
def test_half_coupling_of_vectors_is_a_bijection(
    make_law, swap, num_dims, assert_is_bijection, perturb
) -> None:
    law = make_law()
    num_conditioning, num_transformed = half_sizes(num_dims, swap=swap)
    net = MLP(num_conditioning, (8,), law.num_parameters * num_transformed)
    coupling = perturb(HalfCoupling(law, net, swap=swap))
    assert_is_bijection(coupling, torch.randn(3, num_dims, dtype=torch.float64))


@laws
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("channels", [3, 4])
def test_half_coupling_of_images_is_a_bijection(
    make_law, swap, channels, assert_is_bijection, perturb
) -> None:
    law = make_law()
    num_conditioning, num_transformed = half_sizes(channels, swap=swap)
    net = GlowConvNet(num_conditioning, law.num_parameters * num_transformed, width=4)
    coupling = perturb(HalfCoupling(law, net, swap=swap))
    assert_is_bijection(coupling, torch.randn(2, channels, 2, 4, dtype=torch.float64))


@laws
@pytest.mark.parametrize("even", [False, True])
def test_checkerboard_coupling_is_a_bijection(make_law, even, assert_is_bijection, perturb) -> None:
    law = make_law()
    net = GlowConvNet(3, 3 * law.num_parameters, width=4)
    coupling = perturb(MaskedCoupling(law, net, checkerboard_mask(3, 4, even=even)))
    assert_is_bijection(coupling, torch.randn(2, 3, 3, 4, dtype=torch.float64))


@pytest.mark.parametrize("swap", [False, True])
def test_conditioning_half_passes_unchanged(swap, perturb) -> None:
    coupling = perturb(HalfCoupling(SigmoidAffine(), MLP(2, (4,), 4), swap=swap))
    x = torch.randn(3, 4, dtype=torch.float64)
    z, _ = coupling(x)
    passing = slice(2, 4) if swap else slice(0, 2)
    assert torch.equal(z[:, passing], x[:, passing])
    assert not torch.equal(z, x)


def test_masked_elements_pass_unchanged(perturb) -> None:
    mask = checkerboard_mask(4, 4, even=True)
    coupling = perturb(MaskedCoupling(SigmoidAffine(), GlowConvNet(2, 4, width=4), mask))
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    z, _ = coupling(x)
    passing = mask[0].bool()
    assert torch.equal(z[..., passing], x[..., passing])
    assert not torch.isclose(z[..., ~passing], x[..., ~passing]).any()


def test_lower_precision_of_the_conditioner_does_not_reach_the_data(perturb) -> None:
    coupling = HalfCoupling(SigmoidAffine(), MLP(2, (4,), 4), swap=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z, ladj = coupling(torch.randn(3, 4))
    assert z.dtype == ladj.dtype == torch.float32


def test_checkerboard_masks_of_both_parities_cover_everything_once() -> None:
    even, odd = (checkerboard_mask(3, 5, even=parity) for parity in (True, False))
    assert torch.equal(even + odd, torch.ones(1, 3, 5))
    assert even[0, 0, 0] == 1
    assert even[0, 0, 1] == 0
