"""A picture of samples, small enough to lie in a record."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flowbench.api.data import Artifact, Chart
from flowbench.api.manifolds import manifold_of
from flowbench.data.library.splits import LoadedData
from flowbench.store.artifacts import grid_as_artifacts

COLUMNS, ROWS = 8, 4
DENSITY_BINS = 96
MOST_CONTEXTS = 16  # that a density is averaged over
RULE = 170  # the shade of the lines between heat maps


LogProb = Callable[[NDArray[Any]], NDArray[np.float64]]
"""Log-likelihoods of raw values, shape (N, *event_shape), in nats, shape (N,)."""


def sample_grid(
    x: NDArray[Any], data: LoadedData, log_prob: LogProb | None = None
) -> tuple[Artifact, ...]:
    """Draws a grid of image samples; of what has a plane, test data, samples and the density.

    These are heat maps side by side: of 2-D data, and of points on a manifold that has a chart.

    Args:
        x: Samples on the raw scale, shape (N, *event_shape).
        data: The data that they should look like; it sets the range of levels and of the axes.
        log_prob: The model's density, if it has one; only asked where it is drawn.

    Returns:
        A PNG; nothing where samples have no picture.
    """
    info = data.info
    if info.modality == "image" and info.levels is not None and info.event_shape[0] in (1, 3):
        return grid_as_artifacts(_png(_tile(x[: ROWS * COLUMNS], info.levels)))
    reference = data.splits.test.x
    if info.modality == "vector" and info.event_shape == (2,):
        # Over the data's range: a model that misses it shows as an empty or a crowded picture.
        low, high = reference.min(axis=0), reference.max(axis=0)
        ends = ((low[0], high[0]), (low[1], high[1]))
        plane = Chart(ends=ends, to_plane=lambda x: x, from_plane=lambda x: x)
        return grid_as_artifacts(_png(_heat_maps(x, reference, plane, log_prob)))
    if info.manifold is not None and (chart := manifold_of(info.manifold).chart) is not None:
        return grid_as_artifacts(_png(_heat_maps(x, reference, chart, log_prob)))
    return ()


def over_contexts(
    log_prob: Callable[[NDArray[Any], Mapping[str, NDArray[Any]]], NDArray[np.float64]],
    context: Mapping[str, NDArray[Any]],
) -> LogProb:
    """The density of values alone, of one that is given a context.

    Args:
        log_prob: Log-likelihoods of values and what they are given, in nats.
        context: What examples are given. Where few differ, as labels do, the density is weighted by
            how often each comes; else it is the mean over some of them.

    Returns:
        The average over contexts.
    """

    def averaged(x: NDArray[Any]) -> NDArray[np.float64]:
        flat = np.hstack([values.reshape(len(values), -1) for values in context.values()])
        _, rows, counts = np.unique(flat, axis=0, return_index=True, return_counts=True)
        if len(rows) > MOST_CONTEXTS:
            rows = np.linspace(0, len(flat) - 1, MOST_CONTEXTS, dtype=int)
            counts = np.ones(MOST_CONTEXTS, dtype=int)
        terms = [
            log_prob(x, {name: values[[row] * len(x)] for name, values in context.items()})
            + np.log(count / counts.sum())
            for row, count in zip(rows, counts, strict=True)
        ]
        found: NDArray[np.float64] = np.logaddexp.reduce(terms)
        return found

    return averaged


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


def _heat_maps(
    x: NDArray[Any], reference: NDArray[Any], chart: Chart, log_prob: LogProb | None
) -> NDArray[np.uint8]:
    """Histograms of data and samples in a chart, and the density."""
    edges = [np.linspace(low, high, DENSITY_BINS + 1) for low, high in chart.ends]
    maps = [
        np.histogram2d(some[:, 0], some[:, 1], bins=(edges[0], edges[1]))[0]
        for some in map(chart.to_plane, (reference, x))
    ]
    if log_prob is not None and chart.from_plane is not None:
        centres = ((edge[:-1] + edge[1:]) / 2 for edge in edges)
        places = np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1).reshape(-1, 2)
        points = chart.from_plane(places).astype(reference.dtype)
        found = log_prob(points).reshape(DENSITY_BINS, DENSITY_BINS)
        maps.append(np.exp(np.nan_to_num(found - np.nanmax(found), nan=-np.inf)))
    rule = np.full((DENSITY_BINS, 1), RULE, np.uint8)
    parts = [part for one in maps for part in (rule, _shaded(one))]
    return np.concatenate(parts[1:], axis=1)


def _shaded(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values of a plane, dark where they are great, the second axis upwards."""
    share = values / (values.max() or 1.0)
    # The root brings out thin tails; rows run downwards in an image.
    return np.asarray(255 - 255 * np.sqrt(share.T[::-1]), dtype=np.uint8)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
