"""fd-digits-cnn: the Frechet distance in the features of digits-cnn, which needs no download.

The plain name is that of 256 samples, the number that a run draws unless told otherwise. What the
number of samples alone contributes is shown beside it: ``fd-digits-cnn_floor`` is the distance of
as many test digits, what a perfect model would score.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from flowbench.api import (
    DataError,
    DatasetInfo,
    DataSplits,
    MetricSettings,
    MetricValue,
    TrainedModel,
)
from flowbench_metrics.digits_cnn import LEVELS, NUM_FEATURES, SHAPE, WEIGHTS, load_digits_cnn
from flowbench_metrics.extractors import Extractor, Network, Weights
from flowbench_metrics.feature_specs import FD_DIGITS_CNN
from flowbench_metrics.features import features_of
from flowbench_metrics.fidelity import FrechetMetric
from flowbench_metrics.frechet import frechet_distance, moments
from flowbench_metrics.reference import Reference
from flowbench_metrics.weights import sha256_of

NUM_SAMPLES = 256  # what a run draws by default
MIN_SAMPLES = 4 * NUM_FEATURES


class DigitsCnnExtractor(Extractor):
    """The features of `flowbench_metrics.digits_cnn`, in float64."""

    name = "digits-cnn"
    layers = MappingProxyType({"embedding": NUM_FEATURES})
    dtype = "float64"

    @property
    def library(self) -> str:
        """Its own network; the weights' hash tells its version."""
        return "flowbench"

    def weights(self, data_dir: Path) -> Weights:
        """The weights that ship with the package."""
        del data_dir
        return Weights(WEIGHTS, sha256_of(WEIGHTS))

    def images(self, raw: Tensor, info: DatasetInfo) -> Tensor:
        """The levels as they are.

        Raises:
            DataError: They are not 1x8x8 images of 17 levels.
        """
        if info.event_shape != SHAPE or info.levels != LEVELS:
            raise DataError(
                f"digits-cnn knows images of 1x8x8 and 17 levels, {info.name} has others; "
                "take another extractor"
            )
        return raw

    def network(self, weights: Weights, device: torch.device) -> Network:
        """The trained network's features."""
        network = load_digits_cnn(weights.path).to(device)
        return lambda levels: (network.features(levels),)


class DigitsDistance(FrechetMetric):
    """The distance, and beside it that of as many real digits."""

    def __call__(
        self, trained: TrainedModel, data: DataSplits, settings: MetricSettings
    ) -> list[MetricValue]:
        """Measures the protocol's samples.

        Args:
            trained: The model; gives its samples.
            data: Training digits are the reference, test digits the floor.
            settings: How samples were drawn.

        Returns:
            ``fd-digits-cnn``, and ``fd-digits-cnn_floor`` where there are as many test digits as
            samples.
        """
        values = super().__call__(trained, data, settings)
        num = values[0].num_examples
        if num is None or num > len(data.test):
            return values
        return [*values, self._floor(trained, data, values[0], num)]

    def _floor(
        self, trained: TrainedModel, data: DataSplits, value: MetricValue, num: int
    ) -> MetricValue:
        weights = self.extractor.weights(trained.data_dir)
        given = features_of(trained, self.extractor, weights, data.test, [data.test.x])[self.layer]
        chosen = np.linspace(0, len(given) - 1, num).astype(np.int64)
        reference = Reference(trained, data, "train", self.extractor, weights)
        distance = frechet_distance(moments(given[chosen]), reference.moments(self.layer))
        plain, at, many = value.name.partition("@")
        name = f"{plain}_floor{at}{many}"
        return replace(value, name=name, value=distance, direction="none", split="test")


compute = DigitsDistance(
    FD_DIGITS_CNN,
    DigitsCnnExtractor(),
    "embedding",
    min_samples=MIN_SAMPLES,
    num_samples=NUM_SAMPLES,
)
