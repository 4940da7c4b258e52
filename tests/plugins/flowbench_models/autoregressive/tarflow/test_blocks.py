from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowbench_models.autoregressive.tarflow.blocks import AutoregressiveBlock, CouplingBlock
from flowbench_models.autoregressive.tarflow.config import TarFlowConfig

NUM_TOKENS, DIMS = 6, 4


def block(kind: str = "autoregressive") -> Any:
    torch.manual_seed(0)
    config = TarFlowConfig(width=8, head_dim=4, layers=2, block=kind)
    made = (
        CouplingBlock(config, NUM_TOKENS, DIMS, 0, swap=False)
        if kind == "coupling"
        else AutoregressiveBlock(config, NUM_TOKENS, DIMS, 0)
    )
    torch.nn.init.normal_(made.net.read_out.weight, std=0.1)
    return made.double()


def tokens() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, NUM_TOKENS, DIMS, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("moved", range(NUM_TOKENS))
@torch.no_grad()
def test_the_parameters_of_a_token_depend_on_those_before_it_alone(moved: int) -> None:
    net = block().net
    x = tokens()
    before = net(x, None)
    x[:, moved] += 1.0
    change = (net(x, None) - before).abs().amax(dim=(0, 2))
    # The output at a token holds the parameters of the next one.
    assert torch.equal(change[:moved], torch.zeros(moved, dtype=torch.float64))
    assert (change[moved:] > 1e-6).all()


@pytest.mark.parametrize("moved", range(NUM_TOKENS))
@torch.no_grad()
def test_a_latent_depends_on_its_token_and_those_before_it(moved: int) -> None:
    flow, x = block(), tokens()
    before, _ = flow(x, None)
    x[:, moved] += 1.0
    change = (flow(x, None)[0] - before).abs().amax(dim=(0, 2))
    assert torch.equal(change[:moved], torch.zeros(moved, dtype=torch.float64))
    assert (change[moved:] > 1e-9).all()


@torch.no_grad()
def test_the_first_token_passes() -> None:
    x = tokens()
    z, _ = block()(x, None)
    assert torch.equal(z[:, 0], x[:, 0])
    assert not torch.isclose(z[:, 1:], x[:, 1:]).any()


@torch.no_grad()
def test_cached_decoding_is_the_loop_over_whole_sequences() -> None:
    flow, z = block(), tokens()
    x = z.clone()
    for i in range(1, NUM_TOKENS):
        log_scale, mean = flow.net(x, None)[:, i - 1].chunk(2, dim=-1)
        x[:, i] = z[:, i] * log_scale.exp() + mean
    torch.testing.assert_close(flow.inverse(z, None, None, lambda _: None), x)


@torch.no_grad()
def test_a_coupling_reads_one_half_of_every_token() -> None:
    flow, x = block("coupling"), tokens()
    before, _ = flow(x, None)
    assert torch.equal(before[..., :2], x[..., :2])
    x[:, -1, 0] += 1.0
    change = (flow(x, None)[0] - before)[..., 2:].abs().amax(dim=(0, 2))
    assert (change > 1e-9).all()  # of tokens before it too: no mask
