r"""A pre-norm transformer over tokens, run over whole sequences or token by token."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from flowbench_models.nets.checkpointing import run_checkpointed
from flowbench_models.nets.cpu_linear import PackedLinear, linear

RUN = 64  # queries at a time: fewer make small products, more compute what is masked

LONGEST = 512  # tokens; their probabilities take as much memory as a hidden layer of the perceptron


def attend(heads: Tensor, *, causal: bool) -> Tensor:
    """Mixes the values of tokens.

    Args:
        heads: Queries, keys and values, shape (B, N, 3, heads, d).
        causal: Whether a token attends only to itself and to those before it.

    Returns:
        Mixed values, shape (B, N, heads, d).
    """
    if causal and RUN < heads.shape[1] <= LONGEST and _in_runs(heads):
        mixed: Tensor = _CausalAttention.apply(heads)
        return mixed
    q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, d)
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2)


def _in_runs(heads: Tensor) -> bool:
    return heads.device.type == "cpu" and heads.dtype in (torch.float32, torch.float64)


class _CausalAttention(torch.autograd.Function):
    """Causal attention, run by run; the first run takes what is left over of the tokens."""

    @staticmethod
    def forward(ctx: Any, heads: Tensor) -> Tensor:
        batch, num, _, num_heads, dims = heads.shape
        q, k, v = heads.permute(2, 0, 3, 1, 4).reshape(3, batch * num_heads, num, dims).unbind(0)
        unseen = heads.new_full((RUN, RUN), -torch.inf).triu(1)
        mixed = torch.empty_like(v)
        kept = []
        for start, stop in _runs(num):
            size = stop - start
            logits = _product(q[:, start:stop], k[:, :stop].mT, scale=dims**-0.5)
            logits[:, :, start:].add_(unseen[:size, :size])
            probabilities = logits.softmax(dim=-1)
            mixed[:, start:stop] = torch.bmm(probabilities, v[:, :stop])
            kept.append(probabilities)
        ctx.save_for_backward(q, k, v, *kept)
        return mixed.view(batch, num_heads, num, dims).transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        q, k, v, *kept = ctx.saved_tensors
        batch, num, num_heads, dims = grad.shape
        scale = dims**-0.5
        grad = grad.transpose(1, 2).reshape(v.shape)  # (B heads, N, d), as q, k and v are
        result: Tensor = v.new_zeros(3, *v.shape)
        to_q, to_k, to_v = result.unbind(0)
        for (start, stop), probabilities in zip(_runs(num), kept, strict=True):
            own = grad[:, start:stop]
            # Of a softmax: p (g - sum p g), with g the gradient of its value.
            weighted = torch.bmm(own, v[:, :stop].mT).mul_(probabilities)
            of_logits = torch.addcmul(
                weighted, probabilities, weighted.sum(dim=-1, keepdim=True), value=-1
            )
            to_q[:, start:stop] = _product(of_logits, k[:, :stop], scale=scale)
            to_k[:, :stop].baddbmm_(of_logits.mT, q[:, start:stop], alpha=scale)
            to_v[:, :stop].baddbmm_(probabilities.mT, own)
        return result.view(3, batch, num_heads, num, dims).permute(1, 3, 0, 2, 4)


def _runs(num: int) -> list[tuple[int, int]]:
    """First query of each run, and the one after its last."""
    return list(pairwise([0, *range(num % RUN or RUN, num + 1, RUN)]))


def _product(a: Tensor, b: Tensor, *, scale: float) -> Tensor:
    """A batch of products, scaled as they are made."""
    product: Tensor = torch.baddbmm(a.new_empty(1, 1, 1), a, b, beta=0, alpha=scale)
    return product


EXPANSION = 4  # hidden channels of the perceptron over those of a token


class Transformer(nn.Module):
    r"""A stack of `TransformerLayer`; no norm follows the last.

    Args:
        width: Channels of a token.
        num_layers: Layers.
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
            h = run_checkpointed(layer, h) if checkpoint else layer(h)
        return h


class TransformerLayer(nn.Module):
    r"""Attention, then a perceptron, each on normalised tokens and added to the tokens.

    .. math:: h' = h + \mathrm{Attn}(\mathrm{LN}(h)), \qquad
              h'' = h' + W_2\,\mathrm{GELU}(W_1\,\mathrm{LN}(h'))

    Args:
        width: Channels of a token.
        head_dim: Channels of an attention head.
        causal: Whether a token attends only to itself and to those before it.
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
        heads = _apply(self.qkv, self.attention_norm(h))
        heads = heads.view(*heads.shape[:-1], 3, -1, self.head_dim)
        mixed = attend(heads, causal=self.causal)  # (B, N, heads, head_dim)
        h = h + _apply(self.projection, mixed.flatten(2))
        return h + _apply(self.contract, F.gelu(_apply(self.expand, self.mlp_norm(h))))


def _apply(layer: nn.Linear, h: Tensor) -> Tensor:
    return linear(h, layer.weight, layer.bias)


EMBEDDING_STD = 1e-2  # of positions and classes at the start, as released


class TokenTransformer(nn.Module):
    r"""Embeds tokens with their positions and the label, runs a transformer, and reads it out.

    A withheld label is embedded as the mean over all classes. The read-out starts with zero
    weights, but, as released, with the usual random bias.

    Args:
        in_dims: Values of a token that are read.
        out_dims: Parameters of each token.
        num_tokens: Most tokens N of a sequence.
        width: Channels of the transformer.
        num_layers: Its layers.
        head_dim: Channels of an attention head.
        causal: Whether a token attends only to itself and to those before it.
        num_classes: Number of class labels; 0 without any.

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
    ) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.embed = nn.Linear(in_dims, width)
        self.positions = nn.Parameter(EMBEDDING_STD * torch.randn(num_tokens, width))
        self.classes = (
            nn.Parameter(EMBEDDING_STD * torch.randn(num_classes, width)) if num_classes else None
        )
        self.transformer = Transformer(width, num_layers, head_dim=head_dim, causal=causal)
        self.read_out = nn.Linear(width, out_dims)
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
        parameters: Tensor = self.read_out(self.transformer(h, checkpoint=checkpoint))
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
        withheld = self.classes.mean(dim=0)
        if labels is None:
            return withheld
        return torch.cat([self.classes, withheld.unsqueeze(0)]).index_select(0, labels)


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
