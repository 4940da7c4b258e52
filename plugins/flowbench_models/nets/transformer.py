"""Transformers of tokens, run over whole sequences or, for sampling, token by token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from flowbench_models.nets.cpu_linear import PackedLinear, linear

EXPANSION = 4  # hidden channels of the perceptron over those of a token
EMBEDDING_STD = 1e-2  # of positions and classes at the start, as released


class TransformerLayer(nn.Module):
    r"""Attention, then a perceptron, each on normalised tokens and added to the tokens.

    .. math:: h' = h + \mathrm{Attn}(\mathrm{LN}(h)), \qquad
              h'' = h' + W_2\,\mathrm{GELU}(W_1\,\mathrm{LN}(h'))

    Args:
        width: Channels of a token.
        head_dim: Channels of an attention head.
        causal: Whether a token attends only to itself and to those before it.

    References:
        Zhai et al. (2024), Normalizing Flows are Capable Generative Models,
        https://arxiv.org/abs/2412.06329, section 3.1.
    """

    def __init__(self, width: int, *, head_dim: int, causal: bool) -> None:
        super().__init__()
        self.head_dim, self.causal = head_dim, causal
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, EXPANSION * width)
        self.contract = nn.Linear(EXPANSION * width, width)

    def forward(self, h: Tensor) -> Tensor:
        """Runs tokens (B, N, width).

        Under autocast the tokens stay in float32, and so do the norms and the softmax.
        """
        # One product for queries, keys and values.
        heads = _apply(self.qkv, self.attention_norm(h)).unflatten(-1, (3, -1, self.head_dim))
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, head_dim)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        h = h + _apply(self.projection, mixed.transpose(1, 2).flatten(2))
        return h + _apply(self.contract, F.gelu(_apply(self.expand, self.mlp_norm(h))))


class Transformer(nn.Module):
    """A stack of `TransformerLayer`; no norm follows the last.

    Args:
        width: Channels of a token.
        head_dim: Channels of an attention head.
        causal: Whether a token attends only to itself and to those before it.
    """

    def __init__(self, width: int, num_layers: int, *, head_dim: int, causal: bool) -> None:
        super().__init__()
        self._layers = nn.ModuleList(
            TransformerLayer(width, head_dim=head_dim, causal=causal) for _ in range(num_layers)
        )

    def __iter__(self) -> Iterator[TransformerLayer]:
        return (cast(TransformerLayer, layer) for layer in self._layers)

    def forward(self, h: Tensor, *, checkpoint: bool = False) -> Tensor:
        """Runs all tokens at once.

        Args:
            h: Tokens, shape (B, N, width).
            checkpoint: Whether layers are recomputed in the backward pass.

        Returns:
            Tokens, shape (B, N, width).
        """
        for layer in self:
            if checkpoint and torch.is_grad_enabled():
                h = recompute(layer, h, use_reentrant=False)
            else:
                h = layer(h)
        return h


class TokenTransformer(nn.Module):
    r"""Embeds tokens with their positions and the label, runs a transformer, and reads it out.

    A withheld label is embedded as the mean over all classes. The read-out starts with zero
    weights, but, as released, with the usual random bias.

    Args:
        in_dims: Values of a token that are read.
        out_dims: Parameters of each token.
        num_tokens: Most tokens N of a sequence.
        width: Channels of the transformer.
        head_dim: Channels of an attention head.
        causal: Whether a token attends only to itself and to those before it.
        num_classes: Number of class labels; 0 without any.
        last_norm: Whether a layer norm stands before the read-out, as in a vision transformer.
        position_std: Of positions at the start.

    References:
        Zhai et al. (2024), Normalizing Flows are Capable Generative Models,
        https://arxiv.org/abs/2412.06329, section 3.1, and the authors' released code.
    """

    def __init__(
        self,
        in_dims: int,
        out_dims: int,
        *,
        num_tokens: int,
        width: int,
        num_layers: int,
        head_dim: int,
        causal: bool,
        num_classes: int = 0,
        last_norm: bool = False,
        position_std: float = EMBEDDING_STD,
    ) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.embed = nn.Linear(in_dims, width)
        self.positions = nn.Parameter(position_std * torch.randn(num_tokens, width))
        self.classes = (
            nn.Parameter(EMBEDDING_STD * torch.randn(num_classes, width)) if num_classes else None
        )
        self.transformer = Transformer(width, num_layers, head_dim=head_dim, causal=causal)
        self.last_norm = nn.LayerNorm(width) if last_norm else nn.Identity()
        self.read_out = nn.Linear(width, out_dims)
        # So that a block starts nearly as the identity: only the bias moves tokens.
        nn.init.zeros_(self.read_out.weight)

    def forward(self, x: Tensor, labels: Tensor | None, *, checkpoint: bool = False) -> Tensor:
        """Parameters of all tokens at once.

        Args:
            x: The first M of N tokens, shape (B, M, in_dims).
            labels: Class of each sequence, shape (B,), the number of classes where it is withheld;
                None withholds all. Not looked at without classes.
            checkpoint: Whether the transformer is recomputed in the backward pass.

        Returns:
            Parameters, shape (B, M, out_dims).
        """
        h = self.embed(x) + self.positions[: x.shape[1]]
        label = self.embed_labels(labels)
        if label is not None:
            h = h + label.unsqueeze(-2)
        h = self.last_norm(self.transformer(h, checkpoint=checkpoint))
        parameters: Tensor = self.read_out(h)
        return parameters

    def embed_labels(self, labels: Tensor | None) -> Tensor | None:
        """What the label adds to every token.

        Args:
            labels: As in `forward`.

        Returns:
            Shape (B, width), or (width,) if all labels are withheld; None without classes.
        """
        if self.classes is None:
            return None
        # As released; a row of its own would be trained on withheld labels alone.
        withheld = self.classes.mean(dim=0)
        if labels is None:
            return withheld
        return torch.cat([self.classes, withheld.unsqueeze(0)]).index_select(0, labels)


class TokenDecoder:
    """Runs a causal `TokenTransformer` one token at a time; serves one batch of sequences once.

    The keys and values of all tokens so far are kept, in buffers of the full length. Nothing can be
    differentiated.

    Args:
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
        self._last_norm = net.last_norm
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
        h = self._embed(x) + self._positions[position]
        if self._label is not None:
            h = h + self._label
        for layer in self._layers:
            h = layer.step(h, position)
        return self._read_out(self._last_norm(h))


class _LayerDecoder:
    """One layer's weights, and its keys and values so far."""

    def __init__(
        self, layer: TransformerLayer, num_rows: int, length: int, temperature: Tensor | None
    ) -> None:
        width, head_dim = layer.projection.in_features, layer.head_dim
        self._qkv = PackedLinear(layer.qkv, num_rows)
        self._projection = PackedLinear(layer.projection, num_rows)
        self._expand = PackedLinear(layer.expand, num_rows)
        self._contract = PackedLinear(layer.contract, num_rows)
        self._attention_norm, self._mlp_norm = layer.attention_norm, layer.mlp_norm
        self._heads = (num_rows, 3, width // head_dim, head_dim)
        # Of the full length at once: to append would copy all keys at every token.
        self._cache = layer.qkv.weight.new_empty(2, num_rows, width // head_dim, length, head_dim)
        # A temperature differs by row, and the kernel's scale does not: it goes into the query.
        self._sharpness = None if temperature is None else temperature.reciprocal().view(-1, 1, 1)

    def step(self, h: Tensor, position: int) -> Tensor:
        h = h + self._projection(self._attend(self._attention_norm(h), position))
        return h + self._contract(F.gelu(self._expand(self._mlp_norm(h))))

    def _attend(self, h: Tensor, position: int) -> Tensor:
        query, *key_and_value = self._qkv(h).view(self._heads).unbind(1)  # (R, heads, head_dim)
        self._cache[:, :, :, position] = torch.stack(key_and_value)
        # Views: what is not written yet is never read, so it need not be cleared.
        keys, values = self._cache[:, :, :, : position + 1]
        if self._sharpness is not None:
            query = query * self._sharpness
        return F.scaled_dot_product_attention(query.unsqueeze(2), keys, values).flatten(1)


def _apply(layer: nn.Linear, h: Tensor) -> Tensor:
    return linear(h, layer.weight, layer.bias)
