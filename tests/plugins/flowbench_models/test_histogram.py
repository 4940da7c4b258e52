from __future__ import annotations

import math

import pytest
import torch

from flowbench.api import Batch, SamplingOptions
from flowbench.errors import ConfigError
from flowbench_models import histogram
from flowbench_models.histogram import Histogram, HistogramConfig
from tests.plugins.flowbench_models.fixtures import MakeDataset


@pytest.fixture
def fitted(dataset: MakeDataset) -> Histogram:
    model = Histogram(HistogramConfig(pseudo_count=0.5), dataset(1, 1, 2, levels=3))
    model.initialize(
        Batch(x=torch.tensor([[0, 2], [0, 1], [1, 2]]).view(3, 1, 1, 2)),
        generator=torch.Generator(),
    )
    return model


def test_log_prob_is_that_of_the_smoothed_counts(fitted: Histogram) -> None:
    values = fitted.log_prob(torch.tensor([[0, 2], [2, 0]]).view(2, 1, 1, 2))
    total = 3 + 3 * 0.5
    seen = 2 * math.log(2.5 / total)
    unseen = 2 * math.log(0.5 / total)
    torch.testing.assert_close(values, torch.tensor([seen, unseen]))


def test_probabilities_of_all_images_sum_to_one(fitted: Histogram) -> None:
    levels = torch.arange(3)
    every_image = torch.cartesian_prod(levels, levels).view(9, 1, 1, 2)
    torch.testing.assert_close(fitted.log_prob(every_image).exp().sum().item(), 1.0)


def test_unfitted_histogram_is_uniform(dataset: MakeDataset) -> None:
    model = Histogram(HistogramConfig(), dataset(1, 2, 2, levels=17))
    values = model.log_prob(torch.zeros(1, 1, 2, 2, dtype=torch.int64))
    torch.testing.assert_close(values.item(), -4 * math.log(17))


def test_counting_in_parts_counts_everything_once(
    dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch(x=torch.randint(0, 17, (50, 1, 4, 4)))
    whole, parts = (Histogram(HistogramConfig(), dataset(1, 4, 4)) for _ in range(2))
    whole.initialize(batch, generator=torch.Generator())
    monkeypatch.setattr(histogram, "COUNTING_BATCH", 7)
    parts.initialize(batch, generator=torch.Generator())
    torch.testing.assert_close(parts.log_probs, whole.log_probs)


def test_samples_follow_the_fitted_frequencies(fitted: Histogram) -> None:
    samples = fitted.sample(
        20_000, settings=SamplingOptions(), generator=torch.Generator().manual_seed(0)
    )
    assert samples.shape == (20_000, 1, 1, 2)
    assert samples.dtype == torch.int64
    share = (samples[:, 0, 0, 0] == 0).double().mean().item()
    assert share == pytest.approx(2.5 / 4.5, abs=0.02)


def test_it_is_fitted_on_the_whole_train_split_and_has_nothing_to_train(fitted: Histogram) -> None:
    assert fitted.config.training.init_examples is None
    assert fitted.optimizer_groups() == {}
    assert list(fitted.parameters()) == []


def test_real_values_cannot_be_counted(dataset: MakeDataset) -> None:
    with pytest.raises(ConfigError, match="integer levels"):
        Histogram(HistogramConfig(), dataset(2, levels=None))
