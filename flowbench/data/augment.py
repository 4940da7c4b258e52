"""Random changes of training images, on raw values and as whole batches.

What is drawn for an example is a row of numbers in [0, 1), so that a stream of batches can keep the
draws of an epoch and go on in the middle of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowbench.api.training import Augmentation


@dataclass(frozen=True)
class Translation:
    """A random shift by whole pixels.

    Attributes:
        share: Largest shift as a part of height or width.
        padded: Whether that is of an image padded by as much on each side.
        zeros: Whether zeros come in; else the edge is repeated.
    """

    share: float
    padded: bool = False
    zeros: bool = False


SHIFTS = {
    # Each as its authors' code has it: they differ in how far, of what, and in what comes in.
    "shift": Translation(0.04, padded=True),  # released code of DenseFlow
    "shift_tenth": Translation(0.1),  # of Glow
    "shift_tenth_zeros": Translation(0.1, zeros=True),  # of NanoFlow
}
DRAWS = {"horizontal_flip": 1, **dict.fromkeys(SHIFTS, 2)}


def num_draws(augment: Sequence[Augmentation]) -> int:
    """How many numbers are drawn for an example.

    Returns:
        Their number; 0 without changes.
    """
    return sum(DRAWS[kind] for kind in augment)


def augmented(x: Tensor, draws: Tensor, augment: Sequence[Augmentation]) -> Tensor:
    """Changes images at random, one change after the other.

    ``horizontal_flip`` mirrors an image with probability one half. `SHIFTS` move it by whole pixels
    in either direction.

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
            # Drawn for each example, not for the batch; `where` keeps the shape fixed and waits for
            # nothing.
            x = torch.where(own.view(-1, 1, 1, 1) < 0.5, x.flip(-1), x)
        else:
            shift = SHIFTS[kind]
            down, right = (_pixels(own[:, i], x.shape[2 + i], shift) for i in range(2))
            x = shifted(x, down, right, zeros=shift.zeros)
    return x


def shifted(x: Tensor, down: Tensor, right: Tensor, *, zeros: bool = False) -> Tensor:
    """Moves each image by whole pixels.

    Args:
        x: Shape (B, C, H, W).
        down: Rows by which each image is moved, negative for up, shape (B,).
        right: Columns likewise, shape (B,).
        zeros: Whether zeros come in; else the edge is repeated.

    Returns:
        Shape and type of x.
    """
    batch, channels, height, width = x.shape
    rows = torch.arange(height, device=x.device) - down[:, None]  # (B, H): where each comes from
    columns = torch.arange(width, device=x.device) - right[:, None]
    # One gather for the whole batch: a roll an image would be a launch an image.
    moved = x[
        torch.arange(batch, device=x.device)[:, None, None, None],
        torch.arange(channels, device=x.device)[None, :, None, None],
        rows.clamp(0, height - 1)[:, None, :, None],
        columns.clamp(0, width - 1)[:, None, None, :],
    ]
    if not zeros:
        return moved
    known_rows = (rows >= 0) & (rows < height)
    known_columns = (columns >= 0) & (columns < width)
    return moved * (known_rows[:, None, :, None] & known_columns[:, None, None, :])


def _pixels(draws: Tensor, size: int, shift: Translation) -> Tensor:
    """Whole pixels, as released code gets them; some pads, moves the padded image and crops."""
    moved_size = size + 2 * math.ceil(shift.share * size) if shift.padded else size
    # Rounded as they do: to truncate would move nothing more often than anything else.
    return ((2.0 * draws - 1.0) * shift.share * moved_size).round().long()
