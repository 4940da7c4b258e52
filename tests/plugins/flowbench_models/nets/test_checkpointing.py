from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowbench_models.nets.checkpointing import frozen_statistics, run_checkpointed
from flowbench_models.nets.convolution import Conditioner


class _Net(Conditioner):
    """Counts how often it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5))
        self.num_runs = 0

    def forward(self, h: Tensor) -> Tensor:
        self.num_runs += 1
        out: Tensor = self.layers(h)
        return out


def _twins() -> tuple[_Net, _Net, Tensor]:
    plain, kept = _Net(), _Net()
    kept.load_state_dict(plain.state_dict())
    return plain, kept, torch.randn(4, 2, 3, 3)


def _train_step(net: _Net, run: Any, h: Tensor) -> Tensor:
    torch.manual_seed(1)  # of the dropout
    out: Tensor = run(h)
    torch.manual_seed(2)
    out.square().sum().backward()
    return out


def test_values_gradients_and_statistics_are_those_of_a_plain_run() -> None:
    plain, kept, h = _twins()
    out = _train_step(plain, plain, h)
    recomputed = _train_step(kept, lambda x: run_checkpointed(kept, x), h)
    assert (plain.num_runs, kept.num_runs) == (1, 2)
    torch.testing.assert_close(recomputed, out)
    torch.testing.assert_close(kept.state_dict(), plain.state_dict())
    for mine, theirs in zip(kept.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_another_way_to_run_is_recomputed_too() -> None:
    _, net, h = _twins()
    factor = torch.tensor(3.0, requires_grad=True)
    out = run_checkpointed(net, h, run=lambda x: factor * net(x))
    out.sum().backward()
    assert net.num_runs == 2
    torch.testing.assert_close(factor.grad, (out / factor).sum())


def test_without_gradients_nothing_is_recomputed() -> None:
    _, net, h = _twins()
    with torch.no_grad():
        run_checkpointed(net, h)
    assert net.num_runs == 1


def test_a_network_without_batch_norms_is_recomputed_when_compiled() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(inplace=True), nn.Conv2d(3, 2, 1))
    h = torch.randn(4, 2, 3, 3)
    gradients = []
    compiled = torch.compile(
        lambda x: run_checkpointed(net, x), backend="aot_eager", fullgraph=True
    )
    for run in (net, compiled):
        net.zero_grad()
        run(h).square().sum().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_statistics_are_thawed_after_an_error() -> None:
    _, net, _ = _twins()
    with pytest.raises(ValueError, match="stop"), frozen_statistics(net):
        raise ValueError("stop")
    norm = net.layers[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.momentum == 0.1  # torch's default
