"""DDPM++, the network of score-based models on CIFAR-10, and DDPM's, which it goes back to."""

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


def _halve(channels: int) -> nn.Module:
    """A convolution with a stride, beyond whose far edges there are zeros; as TensorFlow's."""
    stride = _initialised(nn.Conv2d(channels, channels, 3, stride=2))
    return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), stride)


def _double(channels: int) -> nn.Module:
    return nn.Sequential(nn.Upsample(scale_factor=2), _convolution(channels, channels, 3))


class Block(nn.Module):
    """A residual block around an embedding of the time.

    Args:
        dropout: Part of values before the second convolution that are dropped in training.
        rescale: Whether its sum with its shortcut is scaled, so that the variance stays.
        biased: Whether what the embedding adds has a bias.
        resample: Whether height and width are doubled or halved on the way.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        num_embedding: int,
        *,
        dropout: float,
        rescale: bool = True,
        biased: bool = True,
        resample: Literal["up", "down"] | None = None,
    ) -> None:
        super().__init__()
        self.dropout, self.resample = dropout, resample
        self.scale = ROOT_HALF if rescale else 1.0
        self.enter_norm = _norm(num_inputs)
        self.enter = _convolution(num_inputs, num_outputs, 3)
        self.embed = _initialised(nn.Linear(num_embedding, num_outputs, bias=biased))
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
        out: Tensor = (self.shortcut(x) + self.leave(h)) * self.scale
        return out


class Attention(nn.Module):
    """Attention of one head over all positions.

    Args:
        rescale: As in `Block`.
    """

    def __init__(self, channels: int, *, rescale: bool = True) -> None:
        super().__init__()
        self.scale = ROOT_HALF if rescale else 1.0
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
        out: Tensor = (x + self.leave(h)) * self.scale
        return out


class DDPMpp(nn.Module):
    """The U-Net of score-based models, whose residual blocks change the resolution.

    Without ``rescale`` and with ``resample=convolution`` it is DDPM's, in the form that score-based
    models took it over in; in its first form each block attended on the way back, too.

    Args:
        num_inputs: Channels of the images.
        num_outputs: Channels of the output; None takes those of the images.
        width: Channels of the first stage.
        multipliers: Channels of each resolution, as multiples of ``width``.
        blocks: Residual blocks of each resolution; one more on the way back.
        attention: Factors by which height and width are divided where blocks attend.
        attention_back: Whether on the way back the ``last`` of such blocks attends, or ``each``.
        dropout: As in `Block`.
        rescale: As in `Block`.
        biased: As in `Block`.
        resample: How resolutions change: inside a ``residual`` block, or by a ``convolution``.
        num_told: Numbers that `time` is told it by; None takes sinusoids of ``width``.

    Example:
        >>> net = DDPMpp(1, width=8, multipliers=(1, 2), blocks=1, attention=(2,))
        >>> net(torch.rand(5), torch.randn(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])

    References:
        Song et al. (2021), Score-Based Generative Modeling through Stochastic Differential
        Equations, https://arxiv.org/abs/2011.13456, appendix H; Ho et al. (2020), Denoising
        Diffusion Probabilistic Models, https://arxiv.org/abs/2006.11239, appendix B.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int | None = None,
        *,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int] = (),
        attention_back: Literal["last", "each"] = "last",
        dropout: float = 0.0,
        rescale: bool = True,
        biased: bool = True,
        resample: Literal["residual", "convolution"] = "residual",
        num_told: int | None = None,
    ) -> None:
        super().__init__()
        self.width = width
        num_embedding = 4 * width
        self.time = nn.Sequential(
            _initialised(nn.Linear(num_told or width, num_embedding)),
            nn.SiLU(),
            _initialised(nn.Linear(num_embedding, num_embedding)),
        )

        def block(before: int, after: int, way: Literal["up", "down"] | None = None) -> Block:
            return Block(
                before,
                after,
                num_embedding,
                dropout=dropout,
                rescale=rescale,
                biased=biased,
                resample=way,
            )

        def attend(level: int) -> list[nn.Module]:
            return [Attention(channels, rescale=rescale)] if 2**level in attention else []

        residual = resample == "residual"
        channels = width
        joined = [width]
        self.enter = _convolution(num_inputs, width, 3)
        falling: list[nn.Module] = []
        for level, multiplier in enumerate(multipliers):
            for _ in range(blocks):
                parts: list[nn.Module] = [block(channels, multiplier * width)]
                channels = multiplier * width
                falling.append(nn.ModuleList(parts + attend(level)))
                joined.append(channels)
            if level < len(multipliers) - 1:
                half = block(channels, channels, "down") if residual else _halve(channels)
                falling.append(nn.ModuleList([half]))
                joined.append(channels)
        self.falling = nn.ModuleList(falling)
        self.middle = nn.ModuleList(
            [
                block(channels, channels),
                Attention(channels, rescale=rescale),
                block(channels, channels),
            ]
        )
        rising: list[nn.Module] = []
        for level, multiplier in reversed(list(enumerate(multipliers))):
            for index in range(blocks + 1):
                parts = [block(channels + joined.pop(), multiplier * width)]
                channels = multiplier * width
                if index == blocks or attention_back == "each":
                    parts += attend(level)
                if index == blocks and level > 0:
                    parts.append(block(channels, channels, "up") if residual else _double(channels))
                rising.append(nn.ModuleList(parts))
        self.rising = nn.ModuleList(rising)
        self.leave_norm = _norm(channels)
        self.leave = _convolution(channels, num_outputs or num_inputs, 3, NEARLY_ZERO)

    def forward(self, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
        """The output at times (B,) and images (B, C, H, W); it knows no labels."""
        del label
        return self.given(self.time(self.sinusoids(t)), x)

    def sinusoids(self, t: Tensor) -> Tensor:
        """What it is told of times (B,) by itself, shape (B, width)."""
        return sinusoids(t, self.width, inclusive=True)

    def given(self, embedding: Tensor, x: Tensor) -> Tensor:
        """The output of images (B, C, H, W), given what `time` makes of what is told."""
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
