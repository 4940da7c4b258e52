"""Random changes of training images, on raw values and as whole batches.

What is drawn for an example is a row of numbers in [0, 1), so that a stream of batches can keep the
draws of an epoch and go on in the middle of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from flowbench.api.config import Augmentation

SHIFT_SHARE = 0.04
"""Largest shift as a part of the padded height or width; released code of DenseFlow."""

DRAWS = {"horizontal_flip": 1, "shift": 2}


def num_draws(augment: Sequence[Augmentation]) -> int:
    """How many numbers are drawn for an example.

    Args:
        augment: The changes.

    Returns:
        Their number; 0 without changes.
    """
    return sum(DRAWS[kind] for kind in augment)


def augmented(x: Tensor, draws: Tensor, augment: Sequence[Augmentation]) -> Tensor:
    """Changes images at random, one change after the other.

    ``horizontal_flip`` mirrors an image with probability one half. ``shift`` moves it by whole
    pixels, at most 4 % of its size in either direction, and repeats the pixels of its edge.

    Args:
        x: Raw images, shape (B, C, H, W).
        draws: Uniform in [0, 1), shape (B, ``num_draws``).
        augment: The changes, in order.

    Returns:
        Shape and type of x.
    """
    for kind in augment:
        own, draws = draws[:, : DRAWS[kind]], draws[:, DRAWS[kind] :]
        if kind == "horizontal_flip":
            x = torch.where(own.view(-1, 1, 1, 1) < 0.5, x.flip(-1), x)
        else:
            x = shifted(x, _pixels(own[:, 0], x.shape[2]), _pixels(own[:, 1], x.shape[3]))
    return x


def shifted(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Moves each image by whole pixels; what comes in repeats the edge.

    Args:
        x: Shape (B, C, H, W).
        down: Rows by which each image is moved, negative for up, shape (B,).
        right: Columns likewise, shape (B,).

    Returns:
        Shape and type of x.
    """
    batch, channels, height, width = x.shape
    rows = torch.arange(height, device=x.device) - down[:, None]  # (B, H): where each comes from
    columns = torch.arange(width, device=x.device) - right[:, None]
    return x[
        torch.arange(batch, device=x.device)[:, None, None, None],
        torch.arange(channels, device=x.device)[None, :, None, None],
        rows.clamp(0, height - 1)[:, None, :, None],
        columns.clamp(0, width - 1)[:, None, None, :],
    ]


def _pixels(draws: Tensor, size: int) -> Tensor:
    """Whole pixels, as the released code gets them: it pads, moves the padded image and crops."""
    padded = size + 2 * math.ceil(SHIFT_SHARE * size)
    return ((2.0 * draws - 1.0) * SHIFT_SHARE * padded).round().long()
