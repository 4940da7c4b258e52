from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flowbench.errors import NotInvertibleError
from flowbench_models.residual.block import ResidualBlock, iterate, random_series
from flowbench_models.residual.lipschitz import (
    LipSwish,
    SpectralConv2d,
    SpectralLinear,
    normalize_layers,
)
from tests.plugins.flowbench_models.fixtures import AssertIsBijection, JacobianLogAbsDet

NUM_DRAWS = 4000
STANDARD_ERRORS = 5.0


def _block(*, images: bool = False, norm: float = 0.8) -> ResidualBlock:
    layers: list[nn.Module] = []
    if images:
        layers = [
            SpectralConv2d(2, 6, 3, size=(3, 3), coefficient=norm),
            LipSwish(),
            SpectralConv2d(6, 2, 3, size=(3, 3), coefficient=norm),
        ]
    else:
        layers = [SpectralLinear(3, 8, coefficient=norm), LipSwish()]
        layers += [SpectralLinear(8, 3, coefficient=norm)]
    block = ResidualBlock(nn.Sequential(*layers)).double()
    for layer in block.modules():
        if isinstance(layer, SpectralLinear | SpectralConv2d):
            layer.weight.data *= 20.0  # so that the bound is reached
    normalize_layers(block.modules(), tolerance=1e-10)
    return block


@pytest.mark.parametrize("images", [False, True], ids=["vectors", "images"])
def test_it_is_a_bijection_with_the_jacobians_ladj(
    images: bool, assert_is_bijection: AssertIsBijection
) -> None:
    shape = (3, 2, 3, 3) if images else (3, 3)
    assert_is_bijection(_block(images=images), torch.randn(shape, dtype=torch.float64))


def _draws(
    block: ResidualBlock, x: Tensor, *, exact: int, terms: int | None = None
) -> list[tuple[Tensor, Tensor]]:
    """Draws of ladj, and of the gradient of their sum by the first weight."""
    rng, weight = np.random.default_rng(0), next(block.parameters())
    generator, found = torch.Generator().manual_seed(0), []
    # Many probes at once, each with a series of its own length.
    for _ in range(NUM_DRAWS // 20):
        many = x.repeat_interleave(20, dim=0)
        probe = torch.randn(many.shape, generator=generator, dtype=x.dtype)
        extra = int(rng.poisson(2.0))
        series = [1.0] * terms if terms else random_series(extra, exact=exact, rate=2.0)
        _, ladj = block.estimate(many, probe, series)
        (gradient,) = torch.autograd.grad(ladj.sum() / 20, weight)
        found.append((ladj.detach().view(len(x), 20).mean(dim=1), gradient))
    return found


def _same_mean(draws: Sequence[Tensor], expected: Tensor) -> None:
    stacked = torch.stack(list(draws))
    errors = (stacked.mean(0) - expected).abs()
    allowed = STANDARD_ERRORS * stacked.std(0) / len(stacked) ** 0.5
    assert bool((errors <= allowed + 1e-9).all()), (errors / allowed).max()


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("images", [False, True], ids=["vectors", "images"])
def test_mean_of_draws_and_of_their_gradients_is_the_exact_one(
    images: bool, training: bool, jacobian_log_abs_det: JacobianLogAbsDet
) -> None:
    block = _block(images=images).train(training)
    x = torch.randn(2, *((2, 3, 3) if images else (3,)), dtype=torch.float64)
    _, exact = block(x)
    (expected,) = torch.autograd.grad(exact.sum(), next(block.parameters()))
    torch.testing.assert_close(exact, jacobian_log_abs_det(lambda h: block(h)[0], x))
    draws = _draws(block, x, exact=2)
    _same_mean([ladj for ladj, _ in draws], exact.detach())
    _same_mean([gradient for _, gradient in draws], expected)


def test_a_long_series_without_chance_in_its_length_has_one_value_and_gradient() -> None:
    # Of one dim v J v is J v^2: no noise but that of v, which is then held at 1.
    net = nn.Sequential(SpectralLinear(1, 1, coefficient=0.5), nn.Tanh())
    block, x = ResidualBlock(net).double(), torch.tensor([[0.3]], dtype=torch.float64)
    weight = next(block.parameters())
    _, exact = block(x)
    (expected,) = torch.autograd.grad(exact.sum(), weight)
    for training in (True, False):
        block.train(training)
        _, ladj = block.estimate(x, torch.ones_like(x), [1.0] * 60)
        torch.testing.assert_close(ladj, exact)
        (found,) = torch.autograd.grad(ladj.sum(), weight)
        torch.testing.assert_close(found, expected)


def test_gradient_of_each_row_follows_its_own_weight() -> None:
    block = _block().train()
    x = torch.randn(2, 3, dtype=torch.float64)
    probe, weight = torch.randn_like(x), next(block.parameters())

    def gradient(rows: slice, weights: Tensor) -> Tensor:
        z, ladj = block.estimate(x[rows], probe[rows], [1.0, 1.0])
        (found,) = torch.autograd.grad((weights * (ladj + z.sum(dim=1))).sum(), weight)
        return found

    weights = torch.tensor([1.0, -3.0], dtype=torch.float64)
    together = gradient(slice(None), weights)
    apart = gradient(slice(0, 1), weights[:1]) + gradient(slice(1, 2), weights[1:])
    torch.testing.assert_close(together, apart)


def test_training_keeps_one_graph_of_the_network_however_long_the_series_is() -> None:
    held = []
    for terms in (2, 12):
        block, saved = _block().train(), list[int]()
        x = torch.randn(4, 3, dtype=torch.float64)

        def pack(tensor: Tensor, saved: list[int] = saved) -> Tensor:
            saved.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            block.estimate(x, torch.randn_like(x), [1.0] * terms)
        held.append(sum(saved))
    assert held[0] == held[1]


def test_coefficients_of_a_random_series_are_one_on_average() -> None:
    rng = np.random.default_rng(0)
    totals = np.zeros(6)
    for extra in rng.poisson(2.0, 20_000):
        series = random_series(int(extra), exact=2, rate=2.0)[:6]
        totals[: len(series)] += series
    assert totals / 20_000 == pytest.approx(np.ones(6), abs=0.1)
    assert random_series(0, exact=3, rate=2.0) == [1.0, 1.0, 1.0]


def test_an_inverse_that_does_not_come_to_rest_says_so() -> None:
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = 1.01 * torch.eye(2)  # x + 1.01 x has an inverse; the iteration has no end
    with pytest.raises(NotInvertibleError, match="no contraction; set a smaller coefficient"):
        ResidualBlock(layer).inverse(torch.ones(1, 2))


def test_an_inverse_is_as_exact_as_its_precision(assert_is_bijection: AssertIsBijection) -> None:
    block, x = _block(norm=0.98), torch.randn(64, 3, dtype=torch.float64)
    for dtype, error in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        block, x = block.to(dtype), x.to(dtype)
        torch.testing.assert_close(block.inverse(block(x)[0]), x, rtol=0, atol=error)


def test_examples_that_rest_are_iterated_no_longer() -> None:
    """Of a thousand, all but one halve their distance; that one loses a hundredth of its own."""
    rate = torch.full((1000, 1), 0.5, dtype=torch.float64)
    rate[-1] = 0.99
    shown = []

    def update(x: Tensor, rates: Tensor) -> Tensor:
        shown.append(len(x))
        return rates * x

    x, change = iterate(update, torch.ones(1000, 1, dtype=torch.float64), rate, 5000)
    assert change <= 1e-12
    assert x.abs().max() < 1e-9  # and each is where it belongs
    assert len(shown) > 2000
    assert sum(shown) < 100 * len(rate)


@pytest.mark.parametrize("growth", [2.0, torch.nan])
def test_what_comes_to_no_rest_is_told_by_its_last_change(growth: float) -> None:
    rate = torch.tensor([[0.5], [growth]])
    _, change = iterate(lambda x, rates: rates * x, torch.ones(2, 1), rate, 50)
    assert not change <= 1e-6


def test_an_estimate_is_the_same_whether_it_can_be_differentiated_or_not() -> None:
    block = _block(images=True).eval()
    x, probe = torch.randn(2, 3, 2, 3, 3, dtype=torch.float64)
    coefficients = random_series(3, exact=4, rate=2.0)
    with torch.no_grad():
        plain = block.estimate(x, probe, coefficients)
    torch.testing.assert_close(plain, block.estimate(x, probe, coefficients), rtol=1e-12, atol=0)
