"""A transformer over tokens that is told the time."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.nets.time_embedding import sinusoids

EXPANSION = 4  # hidden channels of the perceptron over those of a token
TIME_CHANNELS = 256  # of the sinusoids that the time is told by
ROTARY_BASE = 10_000.0
"""Ratio of the slowest and the fastest rotation of queries and keys; that of the released code."""


class TimedLayer(nn.Module):
    r"""Attention, then a perceptron, each shifted, scaled and gated by the time.

    .. math:: h' = h + g_1\, \mathrm{Attn}((1 + a_1)\,\mathrm{LN}(h) + b_1)

    and likewise for the perceptron; a, b and g are a linear map of the time, and 0 at first.

    Args:
        width: Channels of a token.
        heads: Attention heads.
        time_width: Channels that the time is embedded in.
        dropout: Part of what is added that is dropped in training.

    References:
        Peebles and Xie (2023), Scalable Diffusion Models with Transformers,
        https://arxiv.org/abs/2212.09748, section 3.2.
    """

    def __init__(self, width: int, *, heads: int, time_width: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.projection = nn.Linear(width, width, bias=False)
        self.mlp_norm = nn.LayerNorm(width, bias=False)
        self.expand = nn.Linear(width, EXPANSION * width)
        self.contract = nn.Linear(EXPANSION * width, width)
        self.modulation = _zeroed(nn.Linear(time_width, 6 * width))

    def forward(self, h: Tensor, time: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """Runs tokens (B, N, width), given the embedded time (B, time_width) and rotations."""
        shift, scale, gate, shift_2, scale_2, gate_2 = self.modulation(time)[:, None].chunk(6, -1)
        heads = self.qkv(_modulated(self.attention_norm(h), shift, scale))
        # (B, N, 3 width) to three of (B, heads, N, d)
        q, k, v = heads.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(_rotated(q, turns), _rotated(k, turns), v)
        h = h + gate * self._dropped(self.projection(mixed.transpose(1, 2).flatten(2)))
        inner = F.gelu(
            self.expand(_modulated(self.mlp_norm(h), shift_2, scale_2)), approximate="tanh"
        )
        out: Tensor = h + gate_2 * self._dropped(self.contract(inner))
        return out

    def _dropped(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training)


class TokenNetwork(nn.Module):
    """Logits of every token of a sequence, given all of them and the time.

    Args:
        num_inputs: Tokens that it can be given.
        width: Channels of a token, a multiple of ``heads``.
        num_layers: Layers.
        heads: Attention heads, of an even number of channels each.
        time_width: Channels that the time is embedded in.
        dropout: Part of what a layer adds that is dropped in training.

    References:
        Gat et al. (2024), Discrete Flow Matching, https://arxiv.org/abs/2407.15595, and the example
        on text beside Lipman et al. (2024), https://arxiv.org/abs/2412.06264.
    """

    def __init__(
        self,
        num_inputs: int,
        *,
        width: int,
        num_layers: int,
        heads: int,
        time_width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.head_dim = width // heads
        self.embedding = nn.Embedding(num_inputs, width)
        self.time = nn.Sequential(
            nn.Linear(TIME_CHANNELS, time_width), nn.SiLU(), nn.Linear(time_width, time_width)
        )
        self.layers = nn.ModuleList(
            TimedLayer(width, heads=heads, time_width=time_width, dropout=dropout)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width, bias=False)
        self.modulation = _zeroed(nn.Linear(time_width, 2 * width))
        self.out = _zeroed(nn.Linear(width, num_inputs))

    def forward(self, tokens: Tensor, t: Tensor) -> Tensor:
        """Logits (B, N, num_inputs) of tokens (B, N) at times (B,)."""
        h = self.embedding(tokens)
        time = F.silu(self.time(sinusoids(t, TIME_CHANNELS)))
        turns = self._turns(tokens.shape[1], h)
        for layer in self.layers:
            h = cast(TimedLayer, layer)(h, time, turns)
        shift, scale = self.modulation(time)[:, None].chunk(2, -1)
        out: Tensor = self.out(_modulated(self.norm(h), shift, scale))
        return out

    def _turns(self, num: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the angle of each place and pair of channels, (N, d / 2)."""
        half = self.head_dim // 2
        steps = torch.arange(half, dtype=like.dtype, device=like.device) / half
        places = torch.arange(num, dtype=like.dtype, device=like.device)
        angles = places[:, None] * ROTARY_BASE**-steps
        return angles.cos(), angles.sin()


def _modulated(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return h * (1 + scale) + shift


def _rotated(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Turns channel i with channel i + d/2 by the angle of the place; x is (B, heads, N, d)."""
    cos, sin = turns
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def _zeroed(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
