from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.residual.lipschitz import (
    ConcatenatedLipSwish,
    LipSwish,
    SpectralConv2d,
    SpectralLayer,
    SpectralLinear,
    normalize_layers,
)

LAYERS: dict[str, Callable[[], SpectralLayer]] = {
    "linear": lambda: SpectralLinear(5, 7, coefficient=0.9),
    "conv 3x3": lambda: SpectralConv2d(2, 3, 3, size=(3, 4), coefficient=0.9),
    "conv 1x1": lambda: SpectralConv2d(4, 3, 1, size=(3, 4), coefficient=0.9),
}


def _true_norm(layer: SpectralLayer) -> float:
    """The largest singular value of the whole map, zero padding included."""
    shape = layer.v.shape
    basis = torch.eye(layer.v.numel(), dtype=layer.v.dtype).view(-1, *shape[1:])
    columns = layer.apply_weight(layer.bounded_weight(), basis).flatten(1)
    return float(torch.linalg.matrix_norm(columns, 2).detach())


@pytest.mark.parametrize("kind", LAYERS)
def test_power_iteration_finds_the_norm_of_the_whole_map(kind: str) -> None:
    layer = LAYERS[kind]().double()
    layer.weight.data *= 10.0
    normalize_layers([layer], tolerance=1e-12)
    assert _true_norm(layer) == pytest.approx(0.9, rel=1e-4)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_below_its_bound_is_left_as_it_is(kind: str) -> None:
    layer = LAYERS[kind]().double()
    layer.weight.data *= 0.01
    normalize_layers([layer], tolerance=1e-6)
    assert torch.equal(layer.bounded_weight(), layer.weight)


def test_vectors_start_where_they_were_left() -> None:
    layer = SpectralLinear(40, 40, coefficient=0.9).double()
    normalize_layers([layer], tolerance=1e-10)
    layer.weight.data += 1e-3 * torch.randn_like(layer.weight)
    taken = []
    with mock.patch.object(
        SpectralLinear, "iterate", autospec=True, side_effect=SpectralLayer.iterate
    ) as iterated:
        for _ in range(2):  # from where it was left, and from anywhere
            iterated.reset_mock()
            normalize_layers([layer], tolerance=1e-5)
            taken.append(iterated.call_count)
            layer.v.copy_(torch.randn_like(layer.v))
    assert taken[0] <= 2 < taken[1]


def test_no_gradient_reaches_the_vectors_but_the_norm_is_differentiated() -> None:
    layer = SpectralLinear(4, 4, coefficient=0.5).double()
    layer.weight.data *= 10.0
    normalize_layers([layer], tolerance=1e-12)

    def bounded(weight: Tensor) -> Tensor:
        return weight / (layer.u @ weight @ layer.v.mT).squeeze() * 0.5

    (found,) = torch.autograd.grad(layer.bounded_weight()[0, 0], layer.weight)
    expected = torch.autograd.functional.jacobian(bounded, layer.weight.detach())[0, 0]
    torch.testing.assert_close(found, expected)
    assert not layer.u.requires_grad


@pytest.mark.parametrize("activation", [LipSwish(), ConcatenatedLipSwish()], ids=["one", "two"])
@pytest.mark.parametrize("beta", [-3.0, 0.5, 6.0])
def test_slopes_of_activations_are_at_most_one(activation: nn.Module, beta: float) -> None:
    for parameter in activation.parameters():
        parameter.data.fill_(beta)
    x = torch.linspace(-60.0, 60.0, 200_001, dtype=torch.float64)[:, None].requires_grad_()
    outputs = activation.double()(x)
    slopes = torch.stack(
        [torch.autograd.grad(out.sum(), x, retain_graph=True)[0] for out in outputs.unbind(1)]
    )
    lengths = torch.linalg.vector_norm(slopes, dim=0)
    assert 0.99 < float(lengths.max()) <= 1.0


def test_lipswish_is_a_swish_over_its_largest_slope() -> None:
    activation, x = LipSwish().double(), torch.randn(5, dtype=torch.float64)
    expected = x * torch.sigmoid(F.softplus(activation.beta) * x) / 1.1
    torch.testing.assert_close(activation(x), expected)
