from __future__ import annotations

import torch

from flowbench_models.nets.transformer import Transformer, TransformerLayer


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


def test_without_a_mask_every_token_sees_every_other() -> None:
    torch.manual_seed(0)
    net = Transformer(8, 1, head_dim=8, causal=False).double()
    h = torch.randn(1, 4, 8, dtype=torch.float64)
    before = net(h)
    h[:, -1, 0] += 1.0
    assert ((net(h) - before).abs().amax(dim=-1) > 1e-9).all()
