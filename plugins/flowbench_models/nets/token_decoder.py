"""A causal token transformer run token by token, with the keys and values of all before it kept."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.nets.packed_linear import PackedLinear
from flowbench_models.nets.token_transformer import TokenTransformer
from flowbench_models.nets.transformer import TransformerLayer


class TokenDecoder:
    """Runs a causal `TokenTransformer` one token at a time; serves one batch of sequences once.

    Keys and values have buffers of the full length, and the weights are laid out for products with
    few rows once, so that a token costs a dozen calls a layer. Nothing can be differentiated.

    Args:
        net: The network.
        num_rows: Number R of sequences.
        labels: Class of each, shape (R,), as `TokenTransformer.forward` takes them.
        temperature: Divides the attention's logits, shape (R,); None leaves them.
    """

    @torch.no_grad()
    def __init__(
        self,
        net: TokenTransformer,
        num_rows: int,
        labels: Tensor | None = None,
        temperature: Tensor | None = None,
    ) -> None:
        self._embed = PackedLinear(net.embed, num_rows)
        self._read_out = PackedLinear(net.read_out, num_rows)
        self._label = net.embed_labels(labels)
        self._positions = net.positions.detach()
        self._layers = [
            _LayerDecoder(layer, num_rows, net.num_tokens, temperature) for layer in net.transformer
        ]

    @torch.no_grad()
    def step(self, x: Tensor, position: int) -> Tensor:
        """Takes the next token of each sequence.

        Args:
            x: The tokens, shape (R, in_dims).
            position: How many tokens went before; steps must come in order.

        Returns:
            Their parameters, shape (R, out_dims).
        """
        h = self._embed(x).add_(self._positions[position])
        if self._label is not None:
            h.add_(self._label)
        for layer in self._layers:
            h = layer.step(h, position)
        return self._read_out(h)


class _LayerDecoder:
    """One layer's weights, and its keys and values so far."""

    def __init__(
        self, layer: TransformerLayer, num_rows: int, length: int, temperature: Tensor | None
    ) -> None:
        width = layer.projection.in_features
        num_heads = width // layer.head_dim
        self._qkv = PackedLinear(layer.qkv, num_rows)
        self._projection = PackedLinear(layer.projection, num_rows)
        self._expand = PackedLinear(layer.expand, num_rows)
        self._contract = PackedLinear(layer.contract, num_rows)
        self._attention_norm, self._mlp_norm = _norm(layer.attention_norm), _norm(layer.mlp_norm)
        self._heads = (num_rows, 3, num_heads, layer.head_dim)
        self._cache = layer.qkv.weight.new_empty(2, num_rows, num_heads, length, layer.head_dim)
        self._keys, self._values = self._cache.flatten(1, 2).unbind(0)  # (R heads, N, head_dim)
        scale = layer.head_dim**-0.5
        sharpness = None if temperature is None else temperature.reciprocal().view(-1, 1, 1)
        self._scale = scale if sharpness is None else scale * sharpness

    def step(self, h: Tensor, position: int) -> Tensor:
        mixed = self._attend(F.layer_norm(h, *self._attention_norm), position)
        h = self._projection(mixed).add_(h)
        hidden = F.gelu(self._expand(F.layer_norm(h, *self._mlp_norm)))
        return self._contract(hidden).add_(h)

    def _attend(self, h: Tensor, position: int) -> Tensor:
        qkv = self._qkv(h).view(self._heads)
        self._cache.select(3, position).copy_(qkv.narrow(1, 1, 2).transpose(0, 1))
        query = qkv.select(1, 0) * self._scale  # (R, heads, head_dim)
        if query.device.type != "cpu":
            keys, values = self._cache.narrow(3, 0, position + 1).unbind(0)
            mixed = F.scaled_dot_product_attention(query.unsqueeze(2), keys, values, scale=1.0)
            return mixed.flatten(1)
        # torch's fused kernel for CPUs is made for many queries; for one, two products are faster.
        keys, values = (seen.narrow(1, 0, position + 1) for seen in (self._keys, self._values))
        logits = torch.bmm(query.reshape(len(keys), 1, -1), keys.transpose(1, 2))
        return torch.bmm(logits.softmax(dim=-1), values).view(h.shape)


def _norm(norm: nn.LayerNorm) -> tuple[tuple[int, ...], Tensor, Tensor, float]:
    return norm.normalized_shape, norm.weight.detach(), norm.bias.detach(), norm.eps
