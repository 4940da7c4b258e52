from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowbench_models.autoregressive.tarflow.blocks import AutoregressiveBlock, CouplingBlock
from flowbench_models.autoregressive.tarflow.config import TarFlowConfig
from flowbench_models.autoregressive.tarflow.sampling import Guidance, Sweeps

NUM_TOKENS, DIMS = 6, 4


def block(kind: str = "autoregressive", **values: Any) -> Any:
    torch.manual_seed(0)
    config = TarFlowConfig(width=8, head_dim=4, layers=2, block=kind, **values)
    classes = 3 if config.class_conditional else 0
    made = (
        CouplingBlock(config, NUM_TOKENS, DIMS, classes, num_layers=2, swap=False)
        if kind == "coupling"
        else AutoregressiveBlock(config, NUM_TOKENS, DIMS, classes, num_layers=2)
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


def _tick(part: float) -> None:
    assert 0 < part <= 1


@pytest.mark.parametrize("segments", [1, 2, 99])
@pytest.mark.parametrize("guided", [False, True])
@torch.no_grad()
def test_sweeps_end_where_token_by_token_does(segments: int, guided: bool) -> None:
    flow, z = block(class_conditional=True), tokens()
    guidance = Guidance(weight=0.5, linear=True, withheld=3) if guided else None
    labels = torch.tensor([0, 2]) if guided else None
    expected = flow.inverse(z, labels, guidance, _tick)
    assert flow.sweeps == 0
    swept = flow.inverse(z, labels, guidance, _tick, Sweeps(segments=segments))
    torch.testing.assert_close(swept, expected)
    assert 1 < flow.sweeps <= NUM_TOKENS - 1


@pytest.mark.parametrize("most", range(1, NUM_TOKENS - 1))
@torch.no_grad()
def test_each_sweep_makes_one_more_token_exact(most: int) -> None:
    flow, z = block(), tokens()
    expected = flow.inverse(z, None, None, _tick)
    swept = flow.inverse(z, None, None, _tick, Sweeps(most=most))
    assert flow.sweeps == most
    torch.testing.assert_close(swept[:, : most + 1], expected[:, : most + 1])
    assert not torch.allclose(swept[:, most + 1 :], expected[:, most + 1 :], rtol=1e-12, atol=0)


@torch.no_grad()
def test_sweeps_stop_at_the_tolerance() -> None:
    flow, z = block(), tokens()
    expected = flow.inverse(z, None, None, _tick)
    swept = flow.inverse(z, None, None, _tick, Sweeps(tolerance=0.05))
    assert flow.sweeps < NUM_TOKENS - 1
    torch.testing.assert_close(swept, expected, rtol=0, atol=0.05)


@torch.no_grad()
def test_a_token_out_of_all_bounds_spoils_none_before_it() -> None:
    flow, z = block(), tokens()
    z[:, -2] = 1e300
    expected = flow.inverse(z, None, None, _tick)
    swept = flow.inverse(z, None, None, _tick, Sweeps())
    torch.testing.assert_close(swept[:, :-2], expected[:, :-2])
    assert swept.isfinite().all()


@torch.no_grad()
def test_a_softplus_scale_is_one_at_zero_and_a_soft_clip_bounds_both_parameters() -> None:
    flow = block(scale="softplus", soft_clip=4.0)
    log_scale, mean = flow.parameters_of(torch.tensor([0.0, 0.0])).tolist()
    assert abs(log_scale) < 1e-6
    assert mean == 0
    low_scale, low = flow.parameters_of(torch.full((2,), -1e6)).tolist()
    assert low == -4.0
    # softplus(-4 + log(e - 1))
    assert low_scale == pytest.approx(-3.4742, abs=1e-4)
    z = tokens()
    x = flow.inverse(z, None, None, _tick)
    torch.testing.assert_close(flow(x, None)[0], z)
