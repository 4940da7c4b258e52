"""Stands in for github.com/apple/ml-tarflow: its names and its layout of weights, written anew."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_DIM = 64


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        heads = self.qkv(self.norm(h)).unflatten(-1, (3, -1, HEAD_DIM))
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.main = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.main(self.norm(h))
        return out


class Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention, self.mlp = Attention(width), MLP(width)

    def forward(self, h: Tensor) -> Tensor:
        h = h + self.attention(h)
        out: Tensor = h + self.mlp(h)
        return out


class Block(nn.Module):
    def __init__(self, dims: int, width: int, num_tokens: int, layers: int, turn: int) -> None:
        super().__init__()
        self.backwards = turn % 2 == 1
        self.proj_in = nn.Linear(dims, width)
        self.pos_embed = nn.Parameter(1e-2 * torch.randn(num_tokens, width))
        self.attn_blocks = nn.ModuleList(Layer(width) for _ in range(layers))
        self.proj_out = nn.Linear(width, 2 * dims)

    def parameters_of(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log-scale and mean of each token, given those before it."""
        positions = self.pos_embed.flip(0) if self.backwards else self.pos_embed
        h = self.proj_in(x) + positions
        for layer in self.attn_blocks:
            h = layer(h)
        shifted = F.pad(self.proj_out(h)[:, :-1], (0, 0, 1, 0))  # of the token before
        log_scale, mean = shifted.chunk(2, dim=-1)
        return log_scale, mean


class Model(nn.Module):
    def __init__(
        self, channels: int, side: int, patch: int, width: int, blocks: int, layers: int
    ) -> None:
        super().__init__()
        self.patch, self.side = patch, side
        num_tokens, dims = (side // patch) ** 2, channels * patch**2
        self.blocks = nn.ModuleList(
            Block(dims, width, num_tokens, layers, turn) for turn in range(blocks)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        z = F.unfold(x, self.patch, stride=self.patch).transpose(1, 2)
        log_determinants = x.new_zeros(len(x))
        for module in self.blocks:
            block: Any = module
            z = z.flip(1) if block.backwards else z
            log_scale, mean = block.parameters_of(z)
            z = (z - mean) * (-log_scale).exp()
            z = z.flip(1) if block.backwards else z
            log_determinants = log_determinants - log_scale.mean(dim=(1, 2))
        return z, [], log_determinants

    def get_loss(self, z: Tensor, log_determinants: Tensor) -> Tensor:
        return 0.5 * z.square().mean() - log_determinants.mean()

    def reverse(self, z: Tensor) -> Tensor:
        for module in reversed(self.blocks):
            block: Any = module
            z = z.flip(1) if block.backwards else z
            x = z.clone()
            for position in range(z.shape[1]):
                log_scale, mean = block.parameters_of(x)
                x[:, position] = (z * log_scale.exp() + mean)[:, position]
            z = x.flip(1) if block.backwards else x
        side = self.side
        return F.fold(z.transpose(1, 2), (side, side), self.patch, stride=self.patch)
