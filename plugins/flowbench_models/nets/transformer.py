r"""A pre-norm transformer over whole sequences.

References:
    Zhai et al. (2024), Normalizing Flows are Capable Generative Models,
    https://arxiv.org/abs/2412.06329, section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.nets.attention import attend
from flowbench_models.nets.checkpointing import run_checkpointed
from flowbench_models.nets.onednn import linear

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
