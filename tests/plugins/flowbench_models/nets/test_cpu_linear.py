from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jacrev, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from flowbench_models.nets import cpu_linear
from flowbench_models.nets.cpu_linear import WORTH_CALLING, WORTH_PACKING, PackedLinear, linear

ROWS, WIDTH = 2**9, 2**6  # with as many outputs as inputs, the smallest product worth the call
NUM_ROWS = 3
SIZES = {"small": (6, 4), "worth packing": (512, WORTH_PACKING // 512)}

needs_onednn = pytest.mark.skipif(
    not cpu_linear._has_operators(), reason="needs a CPU with AVX-512 and oneDNN's products"
)


class Layer(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each product that oneDNN makes."""
    rows: list[int] = []
    product = cpu_linear._product

    def counting(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rows.append(x.numel() // x.shape[-1])
        return product(x, weight, bias)

    monkeypatch.setattr(cpu_linear, "_product", counting)
    return rows


def data(rows: int = ROWS, width: int = WIDTH) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, rows // 2, width, generator=generator, requires_grad=True)


@needs_onednn
@pytest.mark.parametrize(("width_in", "width_out"), [(WIDTH, 2 * WIDTH), (2 * WIDTH, WIDTH)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_the_layer(
    width_in: int, width_out: int, bias: bool, products: list[int]
) -> None:
    layer = Layer(width_in, width_out, bias=bias)
    x = data(width=width_in)
    weights = torch.randn(2, ROWS // 2, width_out)
    inputs = [x, *layer.parameters()]
    y = layer(x)
    found = torch.autograd.grad((y * weights).sum(), inputs)
    assert len(products) == 3  # forward, of the input, of the weight
    plain = F.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(y, plain)
    expected = torch.autograd.grad((plain * weights).sum(), inputs)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


@needs_onednn
def test_only_large_products_go_to_onednn(products: list[int]) -> None:
    layer = Layer(WIDTH, WIDTH)
    for rows in (ROWS - 1, ROWS):
        layer(torch.ones(rows, WIDTH))
    assert products == [ROWS]


@needs_onednn
@pytest.mark.parametrize(("width_in", "width_out"), [(WIDTH, 2 * WIDTH), (2 * WIDTH, WIDTH)])
def test_an_expanded_gradient_is_right_and_laid_out_before_onednn_gets_it(
    width_in: int, width_out: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    product, strides = cpu_linear._product, []

    def watched(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        strides.append(0 in (*x.stride(), *weight.stride()))
        return product(x, weight, bias)

    monkeypatch.setattr(cpu_linear, "_product", watched)
    layer, x = Layer(width_in, width_out), torch.randn(ROWS, width_in, requires_grad=True)
    inputs = [x, layer.weight, layer.bias]
    expanded = torch.ones(()).expand(ROWS, width_out)  # as the gradient of a sum is
    found = torch.autograd.grad(layer(x), inputs, expanded)
    expected = torch.autograd.grad(layer(x), inputs, expanded.clone())
    torch.testing.assert_close(found, expected)
    # Given stride 0, oneDNN takes a hundred times as long.
    assert strides == [False] * 6


def test_double_precision_and_autocast_take_the_ordinary_way(products: list[int]) -> None:
    layer = Layer(WIDTH, WIDTH)
    x = torch.ones(ROWS, WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert layer.double()(x.double()).dtype == torch.float64
    assert not products


# --- where anything looks into operations, they are the ordinary ones -----------------------------


def by_graph(layer: Layer, x: Tensor) -> Tensor:
    graph = torch.compile(layer, backend="eager", fullgraph=True)
    y: Tensor = graph(x)
    return y


def by_symbolic_trace(layer: Layer, x: Tensor) -> Tensor:
    y: Tensor = torch.fx.symbolic_trace(layer)(x)
    return y


def by_make_fx(layer: Layer, x: Tensor) -> Tensor:
    y: Tensor = make_fx(lambda value: layer(value))(x)(x)
    return y


def by_vmap(layer: Layer, x: Tensor) -> Tensor:
    y: Tensor = vmap(layer)(x)
    return y


def by_dual_numbers(layer: Layer, x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        y = layer(forward_ad.make_dual(x.detach(), torch.ones_like(x)))
        primal: Tensor
        primal, tangent = forward_ad.unpack_dual(y)
    torch.testing.assert_close(tangent, layer(torch.ones_like(x)) - layer.bias, atol=1e-5, rtol=0)
    return primal


def by_jvp(layer: Layer, x: Tensor) -> Tensor:
    pair: Any = jvp(layer, (x.detach(),), (torch.ones_like(x),))
    y: Tensor
    y, tangent = pair
    torch.testing.assert_close(tangent, layer(torch.ones_like(x)) - layer.bias, atol=1e-5, rtol=0)
    return y


# torch imports its own scripts for forward-mode derivatives.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "run",
    [by_graph, by_symbolic_trace, by_make_fx, by_vmap, by_dual_numbers, by_jvp],
    ids=lambda run: run.__name__,
)
def test_traced_and_transformed_values_are_those_of_the_layer(
    run: Callable[[Layer, Tensor], Tensor],
) -> None:
    # Twice as many rows as are worth a call, so that each of the two of vmap is worth one too.
    layer, x = Layer(WIDTH, WIDTH), data(rows=2 * ROWS)
    torch.testing.assert_close(run(layer, x), F.linear(x, layer.weight, layer.bias))


def test_gradients_of_torch_func_are_those_of_autograd() -> None:
    layer, x = Layer(WIDTH, WIDTH), data()
    parameters: dict[str, Tensor] = dict(layer.named_parameters())

    def total(values: dict[str, Tensor]) -> Tensor:
        y: Tensor = functional_call(layer, values, (x,))
        return y.square().sum()

    layer(x).square().sum().backward()
    for name, gradient in grad(total)(parameters).items():
        torch.testing.assert_close(gradient, parameters[name].grad, rtol=1e-4, atol=1e-3)


def test_jacobian_by_rows_is_the_weight() -> None:
    layer, x = Layer(WIDTH, WIDTH), data().detach()
    jacobian = jacrev(lambda offset: layer(x + offset)[0, 0])(torch.zeros(WIDTH))
    torch.testing.assert_close(jacobian, layer.weight.detach())


def test_batched_gradients_are_those_one_by_one() -> None:
    layer, x = Layer(WIDTH, WIDTH), data()
    y, gradients = layer(x), torch.randn(2, 2, ROWS // 2, WIDTH)
    (batched,) = torch.autograd.grad(y, x, gradients, is_grads_batched=True, retain_graph=True)
    each = [torch.autograd.grad(y, x, g, retain_graph=True)[0] for g in gradients]
    torch.testing.assert_close(batched, torch.stack(each), rtol=1e-4, atol=1e-5)


def test_second_derivatives_are_those_of_the_layer() -> None:
    layer, x = Layer(WIDTH, WIDTH), data()

    def second(y: Tensor) -> tuple[Tensor, ...]:
        (first,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(first.sum(), [x, layer.weight])

    found = second(layer(x))
    for ours, theirs in zip(found, second(F.linear(x, layer.weight, layer.bias)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-2)


def test_work_is_counted() -> None:
    layer, x = Layer(WIDTH, 2 * WIDTH), data()
    with FlopCounterMode(display=False) as counter:
        layer(x).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * ROWS * WIDTH * 2 * WIDTH  # forward, input, weight


# --- many products with few rows ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("num_in", "num_out"), SIZES.values(), ids=SIZES.keys())
def test_a_packed_layer_is_the_layer(num_in: int, num_out: int, dtype: torch.dtype) -> None:
    layer = nn.Linear(num_in, num_out, dtype=dtype)
    x = torch.randn(NUM_ROWS, num_in, dtype=dtype)
    torch.testing.assert_close(PackedLinear(layer, NUM_ROWS)(x), layer(x))


@pytest.mark.parametrize(("num_in", "num_out"), SIZES.values(), ids=SIZES.keys())
def test_work_of_a_packed_layer_is_counted(num_in: int, num_out: int) -> None:
    with FlopCounterMode(display=False) as counter:
        PackedLinear(nn.Linear(num_in, num_out), NUM_ROWS)(torch.zeros(NUM_ROWS, num_in))
    assert counter.get_total_flops() == 2 * NUM_ROWS * num_in * num_out


@needs_onednn
def test_only_large_layers_are_packed(products: list[int]) -> None:
    for num_in, num_out in SIZES.values():
        PackedLinear(nn.Linear(num_in, num_out), NUM_ROWS)(torch.zeros(NUM_ROWS, num_in))
    assert products == [NUM_ROWS]


def test_the_smallest_product_worth_a_call_is_that_of_these_tests() -> None:
    assert ROWS * WIDTH * WIDTH == WORTH_CALLING
