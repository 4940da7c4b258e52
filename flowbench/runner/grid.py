"""A picture of samples, small enough to lie in a record."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flowbench.data.library.splits import LoadedData

COLUMNS, ROWS = 8, 4
DENSITY_BINS = 96


def sample_grid(x: NDArray[Any], data: LoadedData) -> bytes | None:
    """Draws a grid of image samples, or the density of 2-D samples.

    Args:
        x: Samples on the raw scale, shape (N, *event_shape).
        data: The data that they should look like; it sets the range of levels and of the axes.

    Returns:
        A PNG; None where samples have no picture.
    """
    info = data.info
    if info.modality == "image" and info.levels is not None and info.event_shape[0] in (1, 3):
        return _png(_tile(x[: ROWS * COLUMNS], info.levels))
    if info.modality == "vector" and info.event_shape == (2,):
        return _png(_density(x, data.splits.test.x))
    return None


def _tile(x: NDArray[Any], levels: int) -> NDArray[np.uint8]:
    """Puts images (N, C, H, W) side by side, one pixel apart."""
    count, channels, height, width = x.shape
    rows = -(-count // COLUMNS)
    # White between the images, so that dark ones do not run into each other.
    canvas = np.full((rows * (height + 1) - 1, COLUMNS * (width + 1) - 1, channels), 255, np.uint8)
    shades = np.rint(x.astype(np.float64) * (255.0 / (levels - 1))).astype(np.uint8)
    for index, image in enumerate(shades):
        top, left = (index // COLUMNS) * (height + 1), (index % COLUMNS) * (width + 1)
        canvas[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return canvas[..., 0] if channels == 1 else canvas


def _density(x: NDArray[Any], reference: NDArray[Any]) -> NDArray[np.uint8]:
    """Histogram of 2-D samples over the range of the data, dark where they are many."""
    # Over the data's range: a model that misses it shows as an empty or a crowded picture.
    low, high = reference.min(axis=0), reference.max(axis=0)
    ranges = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    counts, _, _ = np.histogram2d(x[:, 0], x[:, 1], bins=DENSITY_BINS, range=ranges)
    share = counts / max(counts.max(), 1.0)
    # The root brings out thin tails; rows run downwards in an image, the second axis upwards.
    return np.asarray(255 - 255 * np.sqrt(share.T[::-1]), dtype=np.uint8)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
