"""Features of images, extracted once for all the metrics of a job that ask for them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from flowbench.api import DatasetInfo, TrainedModel
from flowbench_metrics.extractors import Extractor, Network, Weights, shared_network

BATCH = 64  # torch-fidelity's default; fixed, because a batch's size moves the last digits

Features = dict[str, NDArray[np.floating[Any]]]
"""Features (N, D) by layer."""

ResultT = TypeVar("ResultT")

_shared: dict[int, dict[Hashable, Any]] = {}


def once(owner: object, key: Hashable, make: Callable[[], ResultT]) -> ResultT:
    """What ``make`` returns, made once while ``owner`` lives.

    Args:
        owner: Whose property it is, e.g. a set of samples.
        key: Which of its properties.
        make: Computes it.

    Returns:
        The property.
    """
    if id(owner) not in _shared:
        _shared[id(owner)] = {}
        weakref.finalize(owner, _shared.pop, id(owner), None)
    known = _shared[id(owner)]
    if key not in known:
        known[key] = make()
    result: ResultT = known[key]
    return result


def batches_of_features(
    trained: TrainedModel, extractor: Extractor, weights: Weights, parts: Sequence[NDArray[Any]]
) -> Iterator[Features]:
    """Features of images, batch by batch, on the model's device.

    Args:
        trained: Gives the facts of the data and the device.
        parts: Raw images, each of shape (N, C, H, W); they follow one another.

    Yields:
        Features of up to `BATCH` images of one part.
    """
    device = torch.device("cuda" if trained.device_kind == "cuda" else "cpu")
    network = shared_network(extractor, weights, device)
    total, done = sum(map(len, parts)), 0
    for x in parts:
        for start in range(0, len(x), BATCH):
            trained.tick(f"{extractor.name} features, {done / total:.0%} of {total:,} images")
            done += len(x[start : start + BATCH])
            yield features_of_batch(
                network, extractor, trained.data, x[start : start + BATCH], device
            )


@torch.no_grad()
def features_of_batch(
    network: Network,
    extractor: Extractor,
    info: DatasetInfo,
    x: NDArray[Any],
    device: torch.device,
) -> Features:
    """Features of a batch of images.

    Args:
        network: The extractor's, on the device.
        info: Facts of the data.
        x: Raw images, shape (B, C, H, W).

    Returns:
        Features by layer.
    """
    given = network(extractor.images(torch.from_numpy(np.array(x)).to(device), info))
    arrays = (layer.cpu().numpy() for layer in given)
    return dict(zip(extractor.layers, arrays, strict=True))


def features_of(
    trained: TrainedModel,
    extractor: Extractor,
    weights: Weights,
    owner: object,
    parts: Sequence[NDArray[Any]],
) -> Features:
    """Features of all images, computed once for each owner.

    Args:
        trained: Gives the facts of the data and the device.
        owner: The samples or the split that the images belong to.
        parts: Its raw images.

    Returns:
        Features by layer, in the images' order.
    """

    def extract() -> Features:
        found = list(batches_of_features(trained, extractor, weights, parts))
        return {name: np.concatenate([f[name] for f in found]) for name in extractor.layers}

    return once(owner, ("features", extractor, weights, len(parts)), extract)
