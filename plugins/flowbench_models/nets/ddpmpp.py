"""DDPM++, the network of score-based models on CIFAR-10."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.nets.time_embedding import sinusoids
from flowbench_models.nets.unet import doubled, group_norm

EPSILON = 1e-6
ROOT_HALF = math.sqrt(0.5)
"""Scales a sum of two, whose variance stays."""

NEARLY_ZERO = 1e-10
"""Scale of the first weights of what begins as nothing; released code."""


def _initialised(layer: nn.Conv2d | nn.Linear, scale: float = 1.0) -> nn.Conv2d | nn.Linear:
    """A layer with uniform weights of variance ``scale`` over the mean of fan-in and fan-out."""
    nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(scale))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _convolution(num_inputs: int, num_outputs: int, size: int, scale: float = 1.0) -> nn.Module:
    return _initialised(nn.Conv2d(num_inputs, num_outputs, size, padding=size // 2), scale)


def _norm(channels: int) -> nn.GroupNorm:
    return group_norm(channels, EPSILON)


class Block(nn.Module):
    """A residual block, whose sum with its shortcut keeps the variance.

    Args:
        resample: Whether height and width are doubled or halved on the way.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        num_embedding: int,
        *,
        dropout: float,
        resample: Literal["up", "down"] | None = None,
    ) -> None:
        super().__init__()
        self.dropout, self.resample = dropout, resample
        self.enter_norm = _norm(num_inputs)
        self.enter = _convolution(num_inputs, num_outputs, 3)
        self.embed = _initialised(nn.Linear(num_embedding, num_outputs))
        self.leave_norm = _norm(num_outputs)
        self.leave = _convolution(num_outputs, num_outputs, 3, NEARLY_ZERO)
        changes = num_inputs != num_outputs or resample is not None
        self.shortcut = _convolution(num_inputs, num_outputs, 1) if changes else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W), given (B, num_embedding)."""
        h = F.silu(self.enter_norm(x))
        if self.resample is not None:
            h, x = (doubled(v) if self.resample == "up" else F.avg_pool2d(v, 2) for v in (h, x))
        h = self.enter(h) + self.embed(F.silu(embedding))[..., None, None]
        h = F.dropout(F.silu(self.leave_norm(h)), self.dropout, self.training)
        out: Tensor = (self.shortcut(x) + self.leave(h)) * ROOT_HALF
        return out


class Attention(nn.Module):
    """Attention of one head over all positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.query, self.key, self.value = (_convolution(channels, channels, 1, 0.1) for _ in "qkv")
        self.leave = _convolution(channels, channels, 1, NEARLY_ZERO)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2) for layer in (self.query, self.key, self.value))
        # Written out, as in `flowbench_models.nets.unet`.
        weights = (q.transpose(1, 2) @ k * x.shape[1] ** -0.5).softmax(dim=2)
        h = (v @ weights.transpose(1, 2)).view_as(x)
        out: Tensor = (x + self.leave(h)) * ROOT_HALF
        return out


class DDPMpp(nn.Module):
    """The U-Net of score-based models, whose residual blocks change the resolution.

    Args:
        num_inputs: Channels of the images, and of the output.
        width: Channels of the first stage.
        multipliers: Channels of each resolution, as multiples of ``width``.
        blocks: Residual blocks of each resolution; one more on the way back.
        attention: Factors by which height and width are divided where blocks attend.
        dropout: Part of values in a block that are dropped in training.

    Example:
        >>> net = DDPMpp(1, width=8, multipliers=(1, 2), blocks=1, attention=(2,))
        >>> net(torch.rand(5), torch.randn(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])

    References:
        Song et al. (2021), Score-Based Generative Modeling through Stochastic Differential
        Equations, https://arxiv.org/abs/2011.13456, appendix H.
    """

    def __init__(
        self,
        num_inputs: int,
        *,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        num_embedding = 4 * width
        self.time = nn.Sequential(
            _initialised(nn.Linear(width, num_embedding)),
            nn.SiLU(),
            _initialised(nn.Linear(num_embedding, num_embedding)),
        )

        def block(before: int, after: int, way: Literal["up", "down"] | None = None) -> Block:
            return Block(before, after, num_embedding, dropout=dropout, resample=way)

        channels = width
        joined = [width]
        self.enter = _convolution(num_inputs, width, 3)
        falling: list[nn.Module] = []
        for level, multiplier in enumerate(multipliers):
            for _ in range(blocks):
                parts: list[nn.Module] = [block(channels, multiplier * width)]
                channels = multiplier * width
                if 2**level in attention:
                    parts.append(Attention(channels))
                falling.append(nn.ModuleList(parts))
                joined.append(channels)
            if level < len(multipliers) - 1:
                falling.append(nn.ModuleList([block(channels, channels, "down")]))
                joined.append(channels)
        self.falling = nn.ModuleList(falling)
        self.middle = nn.ModuleList(
            [block(channels, channels), Attention(channels), block(channels, channels)]
        )
        rising: list[nn.Module] = []
        for level, multiplier in reversed(list(enumerate(multipliers))):
            for index in range(blocks + 1):
                parts = [block(channels + joined.pop(), multiplier * width)]
                channels = multiplier * width
                if index == blocks:
                    # Once a resolution, where the way down has it behind each block.
                    parts += [Attention(channels)] if 2**level in attention else []
                    parts += [block(channels, channels, "up")] if level > 0 else []
                rising.append(nn.ModuleList(parts))
        self.rising = nn.ModuleList(rising)
        self.leave_norm = _norm(channels)
        self.leave = _convolution(channels, num_inputs, 3, NEARLY_ZERO)

    def forward(self, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
        """The output at times (B,) and images (B, C, H, W); it knows no labels."""
        embedding = self.time(sinusoids(t, self.width, inclusive=True))
        h = self.enter(x)
        joined = [h]
        for stage in self.falling:
            h = _through(stage, h, embedding)
            joined.append(h)
        h = _through(self.middle, h, embedding)
        for stage in self.rising:
            h = _through(stage, torch.cat((h, joined.pop()), dim=1), embedding)
        return cast(Tensor, self.leave(F.silu(self.leave_norm(h))))


def _through(stage: nn.Module, h: Tensor, embedding: Tensor) -> Tensor:
    for part in stage.children():
        h = part(h, embedding) if isinstance(part, Block) else part(h)
    return h
