from __future__ import annotations

import pytest
import torch

from flowbench_models.nets.transformer import (
    TokenDecoder,
    TokenTransformer,
    Transformer,
    TransformerLayer,
)


def test_a_layer_is_its_formula() -> None:
    """Against attention written out: pre-norm, scaled logits, a lower triangle with diagonal."""
    torch.manual_seed(0)
    layer = TransformerLayer(8, head_dim=4, causal=True).double()
    h = torch.randn(2, 5, 8, dtype=torch.float64)
    q, k, v = layer.qkv(layer.attention_norm(h)).chunk(3, dim=-1)
    mixed = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        logits = q[..., part] @ k[..., part].transpose(1, 2) / 4**0.5
        logits = logits.masked_fill(~torch.ones(5, 5).tril().bool(), -torch.inf)
        mixed.append(logits.softmax(dim=-1) @ v[..., part])
    expected = h + layer.projection(torch.cat(mixed, dim=-1))
    hidden = layer.expand(layer.mlp_norm(expected))
    gelu = 0.5 * hidden * (1.0 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(layer(h), expected + layer.contract(gelu))


@pytest.mark.parametrize("moved", [0, 3, 6])
@torch.no_grad()
def test_a_token_moves_itself_and_those_after_it(moved: int) -> None:
    torch.manual_seed(0)
    layer = TransformerLayer(8, head_dim=4, causal=True).double()
    h = torch.randn(1, 7, 8, dtype=torch.float64)
    before = layer(h)
    h[:, moved, 0] += 1.0
    change = (layer(h) - before).abs().amax(dim=(0, 2))
    assert torch.equal(change[:moved], torch.zeros(moved, dtype=torch.float64))
    assert (change[moved:] > 1e-9).all()


def test_without_a_mask_every_token_sees_every_other() -> None:
    torch.manual_seed(0)
    net = Transformer(8, 1, head_dim=8, causal=False).double()
    h = torch.randn(1, 4, 8, dtype=torch.float64)
    before = net(h)
    h[:, -1, 0] += 1.0
    assert ((net(h) - before).abs().amax(dim=-1) > 1e-9).all()


def network(num_classes: int = 3, *, last_norm: bool = False) -> TokenTransformer:
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
        last_norm=last_norm,
    )
    torch.nn.init.normal_(net.read_out.weight)
    return net


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("labels", [None, torch.tensor([0, 3, 2, 1])])
@pytest.mark.parametrize("last_norm", [False, True])
@torch.no_grad()
def test_step_by_step_is_all_at_once(
    dtype: torch.dtype, labels: torch.Tensor | None, last_norm: bool
) -> None:
    net, x = network(last_norm=last_norm).to(dtype), torch.randn(4, 7, 3, dtype=dtype)
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
    assert withheld is not None
    assert net.classes is not None
    torch.testing.assert_close(withheld[0], net.classes.mean(dim=0))
    torch.testing.assert_close(net.embed_labels(None), net.classes.mean(dim=0), rtol=0, atol=0)
    assert network(num_classes=0).embed_labels(torch.tensor([1])) is None
