from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowbench.api import (
    DatasetInfo,
    DataSplits,
    GenerativeModel,
    Latents,
    Likelihood,
    MetricSettings,
    MetricValue,
    ModelConfig,
    Split,
    TrainedModel,
)
from flowbench.errors import NotInvertibleError
from flowbench_metrics.roundtrip_error import compute
from flowbench_metrics.specs import ROUNDTRIP_ERROR
from tests.plugins.flowbench_metrics.fakes import Doubling, FakeTrained


def values_of(
    given: TrainedModel, splits: DataSplits, settings: MetricSettings
) -> dict[str, MetricValue]:
    return {value.name: value for value in compute(given, splits, settings)}


def test_an_exact_inverse_has_no_error(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings
) -> None:
    values = values_of(trained(), splits, settings)
    assert [value.value for value in values.values()] == [0.0, 0.0, 0.0, 0.0]
    assert values["roundtrip_error"].num_examples == 4
    assert values["roundtrip_error"].protocol == {"space": "model", "dtype": "float64"}


def test_an_inverse_that_is_off_by_a_constant(
    trained: type[FakeTrained],
    splits: DataSplits,
    settings: MetricSettings,
) -> None:
    values = values_of(trained(model=Doubling(offset=0.25)), splits, settings)
    assert values["roundtrip_error"].value == pytest.approx(0.25)
    assert values["roundtrip_error_mean"].value == pytest.approx(0.25)
    expected = np.median(0.25 * 3**0.5 / np.linalg.norm(splits.test.x, axis=1))
    assert values["roundtrip_error_relative"].value == pytest.approx(expected)


def test_the_main_value_is_the_worst_of_all_batches(
    trained: type[FakeTrained], splits: DataSplits
) -> None:
    class OffOnce(Doubling):
        def from_latent(self, latents: Latents, context: Any = None) -> Tensor:
            x = super().from_latent(latents).clone()
            x[latents[0] == 2 * 77.0] += 0.5
            return x

    splits.test.x[2, 1] = 77.0
    settings = MetricSettings(batch_size=3)
    values = values_of(trained(model=OffOnce()), splits, settings)
    assert values["roundtrip_error"].value == pytest.approx(0.5)
    assert values["roundtrip_error_mean"].value == pytest.approx(0.5 / 12)
    # One example in four has a mean error of 1/6: deviation 1/12, over the root of 4.
    assert values["roundtrip_error_mean"].stderr == pytest.approx(1 / 24)
    assert values["roundtrip_error_relative"].value == 0.0


def test_a_conditional_flow_gets_its_context_both_ways(trained: type[FakeTrained]) -> None:
    class Given(ModelConfig):
        def likelihood(self, data: DatasetInfo) -> Likelihood:
            return Likelihood(measure="continuous", given=("label",))

    class ByLabel(Doubling):
        def __init__(self) -> None:
            super().__init__()
            self.config = Given()

        def to_latent(
            self, x: Tensor, context: Any = None, *, aux: Any = None
        ) -> tuple[tuple[Tensor, ...], Tensor]:
            return (x + context["label"][:, None],), x.new_zeros(len(x))

        def from_latent(self, latents: tuple[Tensor, ...], context: Any = None) -> Tensor:
            label: Tensor = context["label"]
            return latents[0] - label[:, None]

    x, label = np.arange(12.0).reshape(4, 3), {"label": np.arange(4), "other": np.zeros(4)}
    splits = DataSplits(train=Split(x=x), test=Split(x=x, context=label))
    values = values_of(trained(model=ByLabel()), splits, MetricSettings(batch_size=3))
    assert values["roundtrip_error"].value == 0.0


def test_num_samples_test_examples_are_taken(
    trained: type[FakeTrained], splits: DataSplits
) -> None:
    values = values_of(trained(), splits, MetricSettings(num_samples=2))
    assert values["roundtrip_error"].num_examples == 2


def test_augmented_flows_get_their_noise(
    trained: type[FakeTrained],
    splits: DataSplits,
    settings: MetricSettings,
) -> None:
    seen: list[Tensor] = []

    class Augmented(Doubling):
        def sample_aux(self, x: Tensor, *, generator: Any) -> Latents:
            return (torch.randn(len(x), 2, generator=generator),)

        def to_latent(
            self, x: Tensor, context: Any = None, *, aux: Any = None
        ) -> tuple[Latents, Tensor]:
            seen.append(aux[0])
            return super().to_latent(x)

    values_of(trained(model=Augmented()), splits, settings)
    values_of(trained(model=Augmented()), splits, settings)
    assert seen[0].shape == (4, 2)
    assert torch.equal(seen[0], seen[1])


def test_values_that_are_not_finite_are_a_failure(
    trained: type[FakeTrained],
    splits: DataSplits,
    settings: MetricSettings,
) -> None:
    value, share = compute(trained(model=Doubling(offset=float("inf"))), splits, settings)
    assert (value.status, value.value) == ("failed", None)
    assert "4 of 4 test examples" in str(value.reason)
    assert (share.name, share.value) == ("roundtrip_error_share", 1.0)


@pytest.mark.parametrize(
    ("error", "of", "refuted"),
    [(2e-3, 100, True), (5e-4, 100, False), (0.5, 2, True), (0.5, 1, False), (math.nan, 2, True)],
)
def test_an_inverse_that_is_off_the_spread_of_the_data_refutes(
    trained: type[FakeTrained], error: float, of: int, refuted: bool
) -> None:
    class OffForSome(Doubling):
        def from_latent(self, latents: Latents, context: Any = None) -> Tensor:
            x = super().from_latent(latents).clone()
            x[:of, 0] += 40.0 * error
            return x

    x = 40.0 * np.random.default_rng(0).normal(size=(100, 3)) + 1e3
    data = DataSplits(train=Split(x=x), validation=Split(x=x), test=Split(x=x))
    values = values_of(trained(model=OffForSome()), data, MetricSettings(batch_size=100))
    share = values["roundtrip_error_share"]
    assert share.value == (of / 100 if error != 5e-4 else 0.0)
    assert (ROUNDTRIP_ERROR.refutation(share) is not None) == refuted


def test_a_failed_inverse_says_why(
    trained: type[FakeTrained],
    splits: DataSplits,
    settings: MetricSettings,
) -> None:
    class Stuck(Doubling):
        def from_latent(self, latents: Latents, context: Any = None) -> Tensor:
            raise NotInvertibleError("no convergence in 100 steps")

    (value,) = compute(trained(model=Stuck()), splits, settings)
    assert (value.status, value.value) == ("unavailable", None)
    assert "no convergence in 100 steps" in str(value.reason)


def test_a_model_without_an_inverse(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings
) -> None:
    given = trained()
    given.model = GenerativeModel(ModelConfig(), given.data)
    (value,) = compute(given, splits, settings)
    assert value.status == "unavailable"


def test_test_examples_are_preprocessed_with_the_protocols_seed(
    trained: type[FakeTrained], splits: DataSplits, settings: MetricSettings
) -> None:
    seen: list[tuple[NDArray[Any], int]] = []

    def preprocess(x: NDArray[Any], *, seed: int) -> Tensor:
        seen.append((x, seed))
        return torch.from_numpy(x)

    compute(trained(preprocess=preprocess), splits, settings)
    ((x, seed),) = seen
    assert np.array_equal(x, splits.test.x)
    assert seed == 5
