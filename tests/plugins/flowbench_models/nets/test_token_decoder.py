from __future__ import annotations

import pytest
import torch

from flowbench_models.nets.token_decoder import TokenDecoder
from flowbench_models.nets.token_transformer import TokenTransformer


def network(num_classes: int = 3) -> TokenTransformer:
    torch.manual_seed(0)
    net = TokenTransformer(
        3,
        5,
        num_tokens=7,
        width=16,
        num_layers=2,
        head_dim=8,
        causal=True,
        num_classes=num_classes,
    )
    torch.nn.init.normal_(net.read_out.weight)
    return net


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("labels", [None, torch.tensor([0, 3, 2, 1])])
@torch.no_grad()
def test_step_by_step_is_all_at_once(dtype: torch.dtype, labels: torch.Tensor | None) -> None:
    net, x = network().to(dtype), torch.randn(4, 7, 3, dtype=dtype)
    decoder = TokenDecoder(net, 4, labels)
    steps = torch.stack([decoder.step(x[:, i], i) for i in range(7)], dim=1)
    torch.testing.assert_close(steps, net(x, labels), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_rows_have_their_own_temperature() -> None:
    net, x = network(), torch.randn(2, 7, 3)
    both = TokenDecoder(net, 4, temperature=torch.tensor([1.0, 1.0, 0.5, 0.5]))
    cold = TokenDecoder(net, 2, temperature=torch.tensor([0.5, 0.5]))
    for i in range(7):
        warm_and_cold = both.step(torch.cat([x[:, i], x[:, i]]), i)
        torch.testing.assert_close(warm_and_cold[2:], cold.step(x[:, i], i))
    torch.testing.assert_close(warm_and_cold[:2], net(x, None)[:, -1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(warm_and_cold[:2], warm_and_cold[2:])


def test_a_withheld_label_is_the_mean_over_classes() -> None:
    net = network()
    withheld = net.embed_labels(torch.tensor([3]))
    torch.testing.assert_close(withheld[0], net.classes.mean(dim=0))
    assert torch.equal(net.embed_labels(None), net.classes.mean(dim=0))
    assert network(num_classes=0).embed_labels(torch.tensor([1])) is None
