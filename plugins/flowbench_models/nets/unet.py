"""The U-Net of diffusion models over images, of any width and depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowbench_models.nets.time_embedding import sinusoids

NUM_GROUPS, GROUP_SIZE = 32, 4
"""Of group normalisation: fewer groups where they would have fewer channels than that."""

EMBEDDING_FACTOR = 4
"""The embedding of time and label has so many times the network's width."""

Resample = Literal["convolution", "pool", "residual"]


def group_norm(channels: int, epsilon: float = 1e-5) -> nn.GroupNorm:
    """Group normalisation of up to `NUM_GROUPS` groups.

    Args:
        epsilon: Added to variances.
    """
    whole = channels % NUM_GROUPS == 0 and channels >= GROUP_SIZE * NUM_GROUPS
    # A channel alone in its group would lose what the time adds to it.
    groups = NUM_GROUPS if whole else math.gcd(NUM_GROUPS, channels // GROUP_SIZE, channels)
    return nn.GroupNorm(groups, channels, eps=epsilon)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer, starting at zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class ResidualBlock(nn.Module):
    """Two convolutions around an embedding of the time, beside a shortcut.

    Args:
        num_embedding: Size of the embedding.
        dropout: Part of values before the second convolution that are dropped in training.
        scale_shift: Whether the embedding scales and shifts the second normalisation, rather than
            being added.
        resample: Whether height and width are doubled or halved on the way.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        num_embedding: int,
        *,
        dropout: float,
        scale_shift: bool,
        resample: Literal["up", "down"] | None = None,
    ) -> None:
        super().__init__()
        self.scale_shift, self.dropout, self.resample = scale_shift, dropout, resample
        self.enter_norm = group_norm(num_inputs)
        self.enter = nn.Conv2d(num_inputs, num_outputs, 3, padding=1)
        self.embed = nn.Linear(num_embedding, (2 if scale_shift else 1) * num_outputs)
        self.leave_norm = group_norm(num_outputs)
        self.leave = zeroed(nn.Conv2d(num_outputs, num_outputs, 3, padding=1))
        same = num_inputs == num_outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(num_inputs, num_outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Maps (B, num_inputs, H, W), given (B, num_embedding)."""
        h = F.silu(self.enter_norm(x))
        if self.resample is not None:
            h, x = (doubled(v) if self.resample == "up" else F.avg_pool2d(v, 2) for v in (h, x))
        h = self.enter(h)
        told = self.embed(F.silu(embedding))[..., None, None]
        if self.scale_shift:
            scale, shift = told.chunk(2, dim=1)
            h = self.leave_norm(h) * (1 + scale) + shift
        else:
            h = self.leave_norm(h + told)
        h = self.leave(F.dropout(F.silu(h), self.dropout, self.training))
        out: Tensor = self.shortcut(x) + h
        return out


class AttentionBlock(nn.Module):
    """Attention over all positions, beside a shortcut.

    Args:
        heads: Attention heads, a divisor of ``channels``.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.leave = nn.Conv1d(channels, channels, 1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        h = self.qkv(self.norm(x).flatten(2))  # (B, 3C, H * W)
        # Of each head all three lie side by side.
        q, k, v = h.unflatten(1, (self.heads, -1)).chunk(3, dim=2)  # (B, heads, C / heads, H * W)
        # Written out: the fused kernels have no derivatives forwards, nor second ones.
        weights = (q.transpose(2, 3) @ k * q.shape[2] ** -0.5).softmax(dim=3)
        h = (v @ weights.transpose(2, 3)).flatten(1, 2)
        out: Tensor = x + self.leave(h).view_as(x)
        return out


def doubled(x: Tensor) -> Tensor:
    """Each pixel four times, (B, C, H, W) to (B, C, 2H, 2W)."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


class Halve(nn.Module):
    """Halves height and width, by a convolution or by means over 2x2 pixels."""

    def __init__(self, channels: int, resample: Resample) -> None:
        super().__init__()
        self.convolution = (
            nn.Conv2d(channels, channels, 3, stride=2, padding=1)
            if resample == "convolution"
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C, H/2, W/2)."""
        out: Tensor = F.avg_pool2d(x, 2) if self.convolution is None else self.convolution(x)
        return out


class Double(nn.Module):
    """Doubles height and width, with a convolution behind it or without."""

    def __init__(self, channels: int, resample: Resample) -> None:
        super().__init__()
        self.convolution = (
            nn.Conv2d(channels, channels, 3, padding=1) if resample == "convolution" else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C, 2H, 2W)."""
        out: Tensor = doubled(x) if self.convolution is None else self.convolution(doubled(x))
        return out


class Stage(nn.ModuleList):
    """Blocks one after the other, those that take the embedding with it."""

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Maps (B, C, H, W), given (B, num_embedding)."""
        for part in self:
            h = part(h, embedding) if isinstance(part, ResidualBlock) else part(h)
        return h


class UNet(nn.Module):
    """Residual blocks with attention at falling and again at rising resolutions, joined across.

    Args:
        num_inputs: Channels of the images.
        num_outputs: Channels of the output.
        width: Channels of the first stage, before ``multipliers``.
        multipliers: Channels of each resolution, as multiples of ``width``; each one but the first
            halves height and width.
        blocks: Residual blocks of each resolution; one more on the way back.
        attention: Factors by which height and width are divided where blocks attend; beside them
            the middle does.
        head_channels: Channels of an attention head; None takes ``heads`` of them.
        heads: Attention heads, where ``head_channels`` does not say.
        dropout: As in `ResidualBlock`.
        scale_shift: As in `ResidualBlock`.
        resample: How resolutions change: by a ``convolution``, by a ``pool`` and a repetition
            alone, or inside a ``residual`` block.
        num_labels: Labels, that for none included; 0 for a network without.
        num_times: Times that it is told.

    Example:
        >>> net = UNet(1, 1, width=8, multipliers=(1, 2), blocks=1, attention=(2,))
        >>> net(torch.rand(5), torch.randn(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])

    References:
        Dhariwal and Nichol (2021), Diffusion Models Beat GANs on Image Synthesis,
        https://arxiv.org/abs/2105.05233, section 3.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        *,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int] = (),
        head_channels: int | None = None,
        heads: int = 1,
        dropout: float = 0.0,
        scale_shift: bool = False,
        resample: Resample = "convolution",
        num_labels: int = 0,
        num_times: int = 1,
    ) -> None:
        super().__init__()
        self.width = width
        num_embedding = EMBEDDING_FACTOR * width
        self.time = nn.Sequential(
            nn.Linear(num_times * width, num_embedding),
            nn.SiLU(),
            nn.Linear(num_embedding, num_embedding),
        )
        self.label = nn.Embedding(num_labels, num_embedding) if num_labels else None

        def residual(
            before: int, after: int, way: Literal["up", "down"] | None = None
        ) -> ResidualBlock:
            return ResidualBlock(
                before,
                after,
                num_embedding,
                dropout=dropout,
                scale_shift=scale_shift,
                resample=way,
            )

        def attend(channels: int) -> AttentionBlock:
            count = heads if head_channels is None else channels // head_channels
            return AttentionBlock(channels, count)

        channels = multipliers[0] * width
        joined = [channels]
        falling: list[nn.Module] = [nn.Conv2d(num_inputs, channels, 3, padding=1)]
        for level, multiplier in enumerate(multipliers):
            attends = 2**level in attention
            for _ in range(blocks):
                parts: list[nn.Module] = [residual(channels, multiplier * width)]
                channels = multiplier * width
                falling.append(Stage(parts + [attend(channels)] * attends))
                joined.append(channels)
            if level < len(multipliers) - 1:
                part = (
                    residual(channels, channels, "down")
                    if resample == "residual"
                    else Halve(channels, resample)
                )
                falling.append(Stage([part]))
                joined.append(channels)
        self.falling = nn.ModuleList(falling)
        self.middle = Stage(
            [residual(channels, channels), attend(channels), residual(channels, channels)]
        )
        rising = []
        for level, multiplier in reversed(list(enumerate(multipliers))):
            attends = 2**level in attention
            for index in range(blocks + 1):
                parts = [residual(channels + joined.pop(), multiplier * width)]
                channels = multiplier * width
                parts += [attend(channels)] * attends
                if level > 0 and index == blocks:
                    parts.append(
                        residual(channels, channels, "up")
                        if resample == "residual"
                        else Double(channels, resample)
                    )
                rising.append(Stage(parts))
        self.rising = nn.ModuleList(rising)
        self.leave_norm = group_norm(channels)
        self.leave = zeroed(nn.Conv2d(channels, num_outputs, 3, padding=1))

    def forward(self, t: Tensor, x: Tensor, label: Tensor | None = None) -> Tensor:
        """The output at times (B,), or (B, num_times), of images (B, C, H, W), given labels."""
        embedding = self.time(sinusoids(t, self.width))
        if self.label is not None and label is not None:
            embedding = embedding + self.label(label)
        first, *stages = self.falling
        h = first(x)
        joined = [h]
        for stage in stages:
            h = stage(h, embedding)
            joined.append(h)
        h = self.middle(h, embedding)
        for stage in self.rising:
            h = stage(torch.cat((h, joined.pop()), dim=1), embedding)
        return cast(Tensor, self.leave(F.silu(self.leave_norm(h))))
