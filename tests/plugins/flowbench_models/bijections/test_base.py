from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from flowbench_models.bijections.base import (
    Bijection,
    BoundedAffine,
    Composition,
    ElementwiseMap,
    HalfCoupling,
    Shift,
    SigmoidAffine,
    half_sizes,
    sum_event_dims,
)
from flowbench_models.bijections.channels import ActNorm, Permutation
from flowbench_models.coupling.glow.model import GlowConvNet
from flowbench_models.coupling.nice import DiagonalScaling
from flowbench_models.coupling.realnvp.model import MaskedCoupling, TanhAffine, checkerboard_mask
from flowbench_models.nets.mlp import MLP
from tests.plugins.flowbench_models.fixtures import AssertIsBijection, Perturb


def test_composition_adds_ladj_and_inverts_in_reverse_order(
    assert_is_bijection: AssertIsBijection, perturb: Perturb
) -> None:
    composition = Composition([ActNorm(4), Permutation([2, 0, 3, 1]), DiagonalScaling(4)])
    assert_is_bijection(perturb(composition), torch.randn(3, 4, dtype=torch.float64))


def test_composition_initialises_each_part_from_the_output_of_those_before() -> None:
    composition = Composition([ActNorm(2), ActNorm(2)]).double()
    x = 3.0 + 5.0 * torch.randn(64, 2, dtype=torch.float64)
    z = composition.initialize(x)
    torch.testing.assert_close(z, composition(x)[0])
    second = composition.bijections[1]
    assert isinstance(second, ActNorm)
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
def test_sum_event_dims_sums_all_but_the_batch(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    torch.testing.assert_close(sum_event_dims(x), x.flatten(1).sum(1))


LAWS: dict[str, Callable[[], ElementwiseMap]] = {
    "shift": Shift,
    "sigmoid": SigmoidAffine,
    "tanh": lambda: TanhAffine(0.7),
    "bounded": BoundedAffine,
}


@pytest.fixture(params=list(LAWS.values()), ids=list(LAWS))
def law(request: pytest.FixtureRequest) -> ElementwiseMap:
    made: ElementwiseMap = request.param().double()
    return made


def test_derivative_is_that_of_autograd_and_the_inverse_inverts(law: ElementwiseMap) -> None:
    x = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    parameters = torch.randn(4, 3 * law.num_parameters, 2, dtype=torch.float64)
    z, log_derivative = law(x, parameters)
    (derivative,) = torch.autograd.grad(z.sum(), x)
    torch.testing.assert_close(log_derivative, derivative.log())
    torch.testing.assert_close(law.inverse(z, parameters), x)


@pytest.mark.parametrize(
    ("size", "layout"),
    [
        ((), torch.contiguous_format),
        ((2, 2), torch.contiguous_format),
        ((2, 2), torch.channels_last),
    ],
)
def test_gradients_of_data_and_parameters(
    law: ElementwiseMap, size: tuple[int, ...], layout: torch.memory_format
) -> None:
    x = torch.randn(2, 3, *size).double().contiguous(memory_format=layout)
    parameters = torch.randn(2, 3 * law.num_parameters, *size).double()
    parameters = parameters.contiguous(memory_format=layout)
    inputs = (x.requires_grad_(), parameters.requires_grad_())
    assert torch.autograd.gradcheck(law, inputs)
    assert torch.autograd.gradcheck(law.inverse, inputs)


def test_sigmoid_scale_stays_below_one() -> None:
    x = torch.randn(4, 1)
    assert (SigmoidAffine()(x, 50 * torch.randn(4, 2))[1] <= 0).all()


@pytest.mark.parametrize("raw", [-200.0, -40.0, 40.0])
def test_sigmoid_scale_is_finite_and_inverts_far_from_the_start(raw: float) -> None:
    law, x, parameters = SigmoidAffine(), torch.ones(1, 1), torch.tensor([[0.0, raw]])
    z, log_derivative = law(x, parameters)
    assert log_derivative.item() == pytest.approx(max(min(raw + 2.0, 0.0), -87.34), abs=0.01)
    torch.testing.assert_close(law.inverse(z, parameters), x)


def test_tanh_affine_without_gain_preserves_volume() -> None:
    _, log_derivative = TanhAffine(0.0)(torch.randn(4, 3), torch.randn(4, 6))
    assert torch.equal(log_derivative, torch.zeros(4, 3))


LAWS_COUPLING = {"shift": Shift, "sigmoid": SigmoidAffine, "tanh": lambda: TanhAffine(0.5)}

laws = pytest.mark.parametrize("make_law", LAWS_COUPLING.values(), ids=LAWS_COUPLING.keys())


@laws
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("exchange", [False, True])
@pytest.mark.parametrize("num_dims", [2, 5])
def test_half_coupling_of_vectors_is_a_bijection(
    make_law: Callable[[], ElementwiseMap],
    swap: bool,
    exchange: bool,
    num_dims: int,
    assert_is_bijection: AssertIsBijection,
    perturb: Perturb,
) -> None:
    law = make_law()
    num_conditioning, num_transformed = half_sizes(num_dims, swap=swap)
    net = MLP(num_conditioning, (8,), law.num_parameters * num_transformed)
    coupling = perturb(HalfCoupling(law, net, swap=swap, exchange=exchange))
    assert_is_bijection(coupling, torch.randn(3, num_dims, dtype=torch.float64))


@pytest.mark.parametrize(
    ("swap", "exchange", "order"),
    [
        (False, False, [0, 1, 2, 3, 4]),
        (True, False, [0, 1, 2, 3, 4]),
        (False, True, [3, 4, 0, 1, 2]),
        (True, True, [3, 4, 0, 1, 2]),
    ],
)
def test_fresh_half_coupling_at_most_exchanges_the_halves(
    swap: bool, exchange: bool, order: Any
) -> None:
    num_passing, num_transformed = half_sizes(5, swap=swap)
    net = MLP(num_passing, (8,), num_transformed)
    x = torch.randn(3, 5)
    z, _ = HalfCoupling(Shift(), net, swap=swap, exchange=exchange)(x)
    assert torch.equal(z, x[:, order])


@laws
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("channels", [3, 4])
def test_half_coupling_of_images_is_a_bijection(
    make_law: Callable[[], ElementwiseMap],
    swap: bool,
    channels: int,
    assert_is_bijection: AssertIsBijection,
    perturb: Perturb,
) -> None:
    law = make_law()
    num_conditioning, num_transformed = half_sizes(channels, swap=swap)
    net = GlowConvNet(num_conditioning, law.num_parameters * num_transformed, width=4)
    coupling = perturb(HalfCoupling(law, net, swap=swap))
    assert_is_bijection(coupling, torch.randn(2, channels, 2, 4, dtype=torch.float64))


@laws
@pytest.mark.parametrize("even", [False, True])
def test_checkerboard_coupling_is_a_bijection(
    make_law: Callable[[], ElementwiseMap],
    even: bool,
    assert_is_bijection: AssertIsBijection,
    perturb: Perturb,
) -> None:
    law = make_law()
    net = GlowConvNet(3, 3 * law.num_parameters, width=4)
    coupling = perturb(MaskedCoupling(law, net, checkerboard_mask(3, 4, even=even)))
    assert_is_bijection(coupling, torch.randn(2, 3, 3, 4, dtype=torch.float64))


@pytest.mark.parametrize("swap", [False, True])
def test_conditioning_half_passes_unchanged(swap: bool, perturb: Perturb) -> None:
    coupling = perturb(HalfCoupling(SigmoidAffine(), MLP(2, (4,), 4), swap=swap))
    x = torch.randn(3, 4, dtype=torch.float64)
    z, _ = coupling(x)
    passing = slice(2, 4) if swap else slice(0, 2)
    assert torch.equal(z[:, passing], x[:, passing])
    assert not torch.equal(z, x)


def test_masked_elements_pass_unchanged(perturb: Perturb) -> None:
    mask = checkerboard_mask(4, 4, even=True)
    coupling = perturb(MaskedCoupling(SigmoidAffine(), GlowConvNet(2, 4, width=4), mask))
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    z, _ = coupling(x)
    passing = mask[0].bool()
    assert torch.equal(z[..., passing], x[..., passing])
    assert not torch.isclose(z[..., ~passing], x[..., ~passing]).any()


def test_lower_precision_of_the_conditioner_does_not_reach_the_data(perturb: Perturb) -> None:
    coupling = HalfCoupling(SigmoidAffine(), MLP(2, (4,), 4), swap=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z, ladj = coupling(torch.randn(3, 4))
    assert z.dtype == ladj.dtype == torch.float32


def test_checkerboard_masks_of_both_parities_cover_everything_once() -> None:
    even, odd = (checkerboard_mask(3, 5, even=parity) for parity in (True, False))
    assert torch.equal(even + odd, torch.ones(1, 3, 5))
    assert even[0, 0, 0] == 1
    assert even[0, 0, 1] == 0


def test_inverse_and_derivative_of_the_bounded_law() -> None:
    x, parameters = torch.randn(2, 3, 4).double(), 3.0 * torch.randn(2, 6, 4).double()
    law = BoundedAffine()
    z, log_derivative = law(x, parameters)
    torch.testing.assert_close(law.inverse(z, parameters), x)
    raw, shift = parameters.chunk(2, dim=1)
    torch.testing.assert_close(log_derivative, 2.0 * torch.tanh(raw / 2.0))
    torch.testing.assert_close(z, shift + log_derivative.exp() * x)


def test_bounded_scale_starts_at_one() -> None:
    parameters = torch.tensor([[1e3, -1e3, 0.0, 0.0, 0.0, 0.0]])
    _, log_scale = BoundedAffine()(torch.zeros(1, 3), parameters)
    torch.testing.assert_close(log_scale, torch.tensor([[2.0, -2.0, 0.0]]))
