from __future__ import annotations

import math

import pytest
import torch

from flowbench.api import DensityModel, Split, split_info
from flowbench.data.preprocess import Preprocessor
from flowbench.evaluation.loss import mean_loss
from flowbench.registry import Registry
from flowbench.registry.build import build_model, load_dataset


@pytest.mark.parametrize("num", [1, 16, 37])
def test_each_example_counts_once_with_the_same_noise_at_each_look(
    fake_registry: Registry, num: int
) -> None:
    data = load_dataset(fake_registry, "fake-images", ".")
    model = build_model(fake_registry, "fake-gaussian", {}, data.info)
    assert isinstance(model, DensityModel)
    model.eval()
    preprocessor = Preprocessor(model.config.preprocessing, data.info)
    split = Split(x=data.splits.train.x[:num])

    def look() -> float:
        noise = torch.Generator().manual_seed(5)
        return mean_loss(model, preprocessor, split, target=None, generator=noise)

    found = look()
    assert look() == found
    noise = torch.Generator().manual_seed(5)
    x, _ = preprocessor.forward(torch.from_numpy(split.x), noise)
    with torch.no_grad():  # the mean of a batch, in bits per dimension, is what it trains
        expected = -split_info(model.log_prob(x))[0].mean() / (data.info.num_dims * math.log(2.0))
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_a_loss_of_nothing_chooses_no_weights(fake_registry: Registry) -> None:
    """Of segments: all validation examples may be shorter."""
    data = load_dataset(fake_registry, "fake-images", ".")
    model = build_model(fake_registry, "fake-gaussian", {}, data.info)
    preprocessor = Preprocessor(model.config.preprocessing, data.info)
    nothing = Split(x=data.splits.train.x[:0])
    noise = torch.Generator()
    found = mean_loss(model, preprocessor, nothing, target=None, generator=noise)
    assert found == float("inf")
