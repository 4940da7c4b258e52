from __future__ import annotations

import torch

from flowbench_models.coupling.realnvp.networks import ImageMLP
from flowbench_models.nets.mlp import MLP


def test_zero_output_starts_at_zero_whatever_the_input() -> None:
    assert torch.equal(MLP(3, (8, 8), 2)(torch.randn(4, 3)), torch.zeros(4, 2))


def test_without_hidden_layers_it_is_linear() -> None:
    net = MLP(3, (), 2, zero_output=False)
    x = torch.randn(4, 3)
    torch.testing.assert_close(net(2 * x) - net(x), net(x) - net(torch.zeros(4, 3)))


def test_dropout_acts_in_training_alone() -> None:
    net, x = MLP(3, (64,), 2, dropout=0.5, zero_output=False), torch.randn(4, 3)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_image_perceptron_sees_every_pixel() -> None:
    net = ImageMLP((2, 3, 4), 5, (8,))
    last = net.net.layers[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.normal_(last.weight)
    h = torch.randn(1, 2, 3, 4, requires_grad=True)
    out = net(h)
    assert out.shape == (1, 5, 3, 4)
    out[0, 0, 0, 0].backward()
    assert h.grad is not None
    assert h.grad.count_nonzero() == h.numel()
