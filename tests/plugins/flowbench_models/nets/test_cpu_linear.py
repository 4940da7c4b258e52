from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from flowbench_models.nets import cpu_linear
from flowbench_models.nets.cpu_linear import WORTH_PACKING, PackedLinear

ROWS, WIDTH = 2**9, 2**6  # with as many outputs as inputs, the smallest product worth the call

MANY, NARROW = cpu_linear.MANY_ROWS, 2

with_operators = pytest.mark.skipif(
    not cpu_linear.usable(torch.zeros(1)), reason="this torch has no oneDNN products"
)


@pytest.fixture(params=[True, False], ids=["avx512", "avx2"])
def avx512(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(cpu_linear, "has_avx512", lambda: request.param)
    return bool(request.param)


def apply(layer: nn.Linear, x: Tensor) -> Tensor:
    return cpu_linear.linear(x, layer.weight, layer.bias)


@pytest.mark.parametrize(
    ("rows", "width_in", "width_out"),
    [(ROWS, WIDTH, 2 * WIDTH), (ROWS, 2 * WIDTH, WIDTH), (MANY, NARROW, 2 * NARROW)],
)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.usefixtures("avx512")
def test_values_and_gradients_are_those_of_the_layer(
    rows: int, width_in: int, width_out: int, bias: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(width_in, width_out, bias=bias)
    x = torch.randn(2, rows // 2, width_in, generator=generator, requires_grad=True)
    weights = torch.randn(2, rows // 2, width_out, generator=generator)
    inputs = [x, *layer.parameters()]
    expected = torch.autograd.grad((layer(x) * weights).sum(), inputs)
    found = torch.autograd.grad((apply(layer, x) * weights).sum(), inputs)
    torch.testing.assert_close(apply(layer, x), layer(x))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


@with_operators
def test_a_second_derivative_is_an_error_and_not_a_zero() -> None:
    layer = nn.Linear(WIDTH, WIDTH)
    x = torch.ones(MANY, WIDTH, requires_grad=True)
    (first,) = torch.autograd.grad(apply(layer, x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@with_operators
def test_only_large_products_go_to_onednn(avx512: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    product = cpu_linear.product

    def counting(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows.append(len(x))
        return product(x, weight, bias)

    monkeypatch.setattr(cpu_linear, "product", counting)
    layer = nn.Linear(WIDTH, WIDTH)
    enough = ROWS if avx512 else MANY
    for number in (enough - 1, enough):
        apply(layer, torch.ones(number, WIDTH))
    assert rows == [enough]


def test_double_precision_and_autocast_take_the_ordinary_way() -> None:
    layer = nn.Linear(WIDTH, WIDTH)
    x = torch.ones(ROWS, WIDTH)
    assert apply(layer.double(), x.double()).dtype == torch.float64
    assert not cpu_linear.usable(layer.weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert apply(layer.float(), x).dtype == torch.bfloat16


@pytest.mark.usefixtures("avx512")
def test_the_work_is_counted_by_a_counter_from_before_the_first_product() -> None:
    layer = nn.Linear(WIDTH, 2 * WIDTH)
    with FlopCounterMode(display=False) as counter:
        apply(layer, torch.ones(2, MANY // 2, WIDTH, requires_grad=True)).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * MANY * WIDTH * 2 * WIDTH  # forward, input, weight


NUM_ROWS = 3

SIZES = {"small": (6, 4), "worth packing": (512, WORTH_PACKING // 512)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("num_in", "num_out"), SIZES.values(), ids=SIZES.keys())
def test_a_packed_layer_is_the_layer_and_counts_its_work(
    num_in: int, num_out: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(num_in, num_out, dtype=dtype)
    x = torch.randn(NUM_ROWS, num_in, generator=generator, dtype=dtype)
    packed = PackedLinear(layer, NUM_ROWS)
    torch.testing.assert_close(packed(x), layer(x))
    with FlopCounterMode(display=False) as counter:
        packed(x)
    assert counter.get_total_flops() == 2 * NUM_ROWS * num_in * num_out


@pytest.mark.skipif(
    not cpu_linear.usable(torch.zeros(1)), reason="this torch has no oneDNN products"
)
def test_only_large_layers_are_arranged_by_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    arranged: list[int] = []

    def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        arranged.append(weight.numel())
        return x

    monkeypatch.setattr(cpu_linear, "product", product)
    for num_in, num_out in SIZES.values():
        PackedLinear(torch.nn.Linear(num_in, num_out), NUM_ROWS)(torch.zeros(NUM_ROWS, num_in))
    assert arranged == [WORTH_PACKING]
