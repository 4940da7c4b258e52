from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from flowbench_models.nets import onednn
from flowbench_models.nets.packed_linear import WORTH_PACKING, PackedLinear

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


@pytest.mark.skipif(not onednn.usable(torch.zeros(1)), reason="this torch has no oneDNN products")
def test_only_large_layers_are_arranged_by_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    arranged: list[int] = []

    def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        arranged.append(weight.numel())
        return x

    monkeypatch.setattr(onednn, "product", product)
    for num_in, num_out in SIZES.values():
        PackedLinear(torch.nn.Linear(num_in, num_out), NUM_ROWS)(torch.zeros(NUM_ROWS, num_in))
    assert arranged == [WORTH_PACKING]
