"""Changes of training images that a network is told, so that it draws none of them by itself."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

NUM_CHANGES = 9
"""Numbers that tell of the changes of an image: 1 for each mirror and the size, else 2."""

SIZE_STD = 0.2
"""Of the base-2 logarithm of a change of size, or of the ratio of height to width; the paper's."""

SHIFT_STD = 0.125
"""Of shifts, as part of height and width; the paper's."""


def changed(x: Tensor, chance: float, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Mirrors half of the images, and changes each in some other ways.

    They are a mirror from top to bottom, another size, a turn, another ratio of height to width
    along any direction, and a shift.

    Args:
        x: Images, shape (B, C, H, W).
        chance: Of each of the other ways.

    Returns:
        Images of the same shape, and what tells of their changes, (B, NUM_CHANGES); zeros for an
        image that is as it was.

    References:
        Karras et al. (2022), Elucidating the Design Space of Diffusion-Based Generative Models,
        https://arxiv.org/abs/2206.00364, appendix F.2, table 6.
    """
    num, _, height, width = x.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=x.dtype, device=x.device)

    def sometimes(drawn: Tensor) -> Tensor:
        return drawn * (uniform(num) < chance)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=x.dtype, device=x.device)

    def angle() -> Tensor:
        return math.pi * (2.0 * uniform(num) - 1.0)

    mirrors = (uniform(num) < 0.5).to(x.dtype), sometimes((uniform(num) < 0.5).to(x.dtype))
    for mirror, axis in zip(mirrors, (3, 2), strict=True):
        x = torch.where(mirror.view(-1, 1, 1, 1) > 0, x.flip(axis), x)
    size, turn, ratio = sometimes(normal(num)), sometimes(angle()), sometimes(normal(num))
    along = angle() * (uniform(num) < 0.5)
    shift = normal(2, num) * (uniform(num) < chance)
    told = [*mirrors, size, turn.cos() - 1.0, turn.sin()]
    told += [ratio * along.cos(), ratio * along.sin(), *shift]
    # From places in the new image to those in the old one; what is first here is done last.
    stretch = _diagonal((-SIZE_STD * ratio).exp2(), (SIZE_STD * ratio).exp2())
    turned = _rotation(turn) @ _rotation(-along) @ stretch @ _rotation(along)
    linear = (-SIZE_STD * size).exp2().view(-1, 1, 1) * turned
    from_middle = linear @ (-SHIFT_STD * shift * x.new_tensor([[width], [height]])).T.unsqueeze(2)
    # `affine_grid` counts half a width and half a height as 1.
    halves = x.new_tensor([0.5 * width, 0.5 * height])
    grid = F.affine_grid(
        torch.cat((linear * halves, from_middle), dim=2) / halves.view(2, 1),
        list(x.shape),
        align_corners=False,
    )
    moved = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    changes = torch.stack(told, dim=1)
    is_moved = (changes[:, len(mirrors) :] != 0).any(dim=1)
    return torch.where(is_moved.view(-1, 1, 1, 1), moved, x), changes


def _rotation(angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    rotation: Tensor = torch.stack((cos, -sin, sin, cos), dim=-1).unflatten(-1, (2, 2))
    return rotation


def _diagonal(first: Tensor, second: Tensor) -> Tensor:
    out: Tensor = torch.diag_embed(torch.stack((first, second), dim=-1))
    return out
