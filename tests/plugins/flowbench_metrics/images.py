"""Images and an extractor for tests of metrics that look through a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowbench.api import DatasetInfo, DataSplits, Samples, Split
from flowbench.errors import DataMissingError
from flowbench_metrics.extractors import Extractor, Network, Weights


def image_info(channels: int = 1, size: int = 2, levels: int = 256) -> DatasetInfo:
    return DatasetInfo(
        name="fake-images",
        modality="image",
        event_shape=(channels, size, size),
        levels=levels,
        num_train=8,
        num_validation=2,
        num_test=4,
    )


def images(
    num: int, seed: int, info: DatasetInfo, low: int = 0, high: int | None = None
) -> NDArray[np.uint8]:
    assert info.levels is not None
    rng = np.random.default_rng(seed)
    return rng.integers(low, high or info.levels, (num, *info.event_shape)).astype(np.uint8)


def samples_of(x: np.ndarray) -> Samples:
    return Samples(x=x, context={}, num_clipped=0, num_nonfinite=0, temperature=1.0, seed=0)


def splits_of(
    train: NDArray[Any], test: NDArray[Any], validation: NDArray[Any] | None = None
) -> DataSplits:
    held_out = train[:0] if validation is None else validation
    return DataSplits(
        train=Split(x=train),
        test=Split(x=test),
        validation=Split(x=held_out),
        validation_of_train=validation is not None,
    )


class Pixels(Extractor):
    """Its features are the pixels themselves, in float64, so that values follow by hand."""

    name = "pixels"
    library = "none"
    dtype = "float64"

    def __init__(self, num: int = 4, sha256: str = "ab" * 32, reason: str | None = None) -> None:
        self.layers: Mapping[str, int] = {"pixels": num}
        self.num_images = 0
        self._sha256, self._reason = sha256, reason

    def weights(self, data_dir: Path) -> Weights:
        if self._reason is not None:
            raise DataMissingError(self._reason)
        return Weights(data_dir, self._sha256)

    def images(self, raw: Tensor, info: DatasetInfo) -> Tensor:
        return raw

    def network(self, weights: Weights, device: torch.device) -> Network:
        def features(x: Tensor) -> tuple[Tensor, ...]:
            self.num_images += len(x)
            return (x.flatten(1).double(),)

        return features
