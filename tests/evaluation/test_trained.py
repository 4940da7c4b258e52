"""What the harness asks of a trained model, with and without a label."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flowbench.api import (
    Context,
    ContextInput,
    DataSplits,
    DensityModel,
    GenerativeModel,
    Likelihood,
    MetricSettings,
    MetricSpec,
    ModelConfig,
    NoLikelihood,
    Preprocessing,
    SampleSettings,
    SamplingOptions,
    Split,
    UniformDequantization,
    report_progress,
)
from flowbench.api.config import unsupported_sampling
from flowbench.api.specs import DatasetInfo
from flowbench.data.preprocess import Preprocessor
from flowbench.errors import ContractError
from flowbench.evaluation.evaluate import not_applicable
from flowbench.evaluation.harness import LOOK_EXAMPLES, Harness
from flowbench.evaluation.trained import EvaluatedModel
from flowbench.registry import Registry
from flowbench.registry.build import build_model, load_dataset
from tests.costs import NO_COST
from tests.fakes import GaussianConfig

LEVELS, NUM = 4, 12
INFO = DatasetInfo(
    name="fake",
    modality="vector",
    event_shape=(2,),
    levels=LEVELS,
    num_train=NUM,
    num_validation=NUM,
    num_test=NUM,
    context={"label": ContextInput(shape=(), num_classes=3)},
)


class ConditionalConfig(ModelConfig):
    def also_given(self, data: DatasetInfo) -> tuple[tuple[str, ...], ...]:
        return (("label",),)


class Uniform(DensityModel):
    """Uniform over the levels; each label is worth as many nats as it counts."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, INFO)
        self.anchor = nn.Parameter(torch.zeros(1))

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        plain = torch.full((len(x),), -2 * math.log(LEVELS), dtype=torch.float64)
        return plain if context is None else plain + context["label"]

    def sample(
        self,
        num: int,
        context: Context | None = None,
        *,
        settings: SamplingOptions,
        generator: torch.Generator,
    ) -> Tensor:
        report_progress(0.5)
        return torch.ones(num, 2)


def trained(
    config_class: type[ModelConfig] = ConditionalConfig,
    progress: Callable[[str, float], None] = lambda *_: None,
) -> EvaluatedModel:
    rng = np.random.default_rng(0)
    labels = np.arange(NUM) % 3
    split = Split(x=rng.integers(0, LEVELS, (NUM, 2)).astype(np.uint8), context={"label": labels})
    model = Uniform(config_class(preprocessing=Preprocessing(noise=UniformDequantization())))
    preprocessor = Preprocessor(model.config.preprocessing, INFO, torch.device("cpu"))
    preprocessor.fit(split)
    harness = Harness(
        preprocessor=preprocessor,
        splits=DataSplits(train=split, validation=split, test=split),
        settings=MetricSettings(eval_draws=2, num_samples=8, batch_size=4),
        progress=progress,
    )
    return EvaluatedModel(model, harness, NO_COST)


def test_the_likelihood_given_the_label_is_apart() -> None:
    model = trained()
    told, blind = model.likelihood("test", given=("label",)), model.likelihood("test")
    np.testing.assert_allclose(told.log_prob - blind.log_prob, np.arange(NUM) % 3)
    assert (told.likelihood.given, blind.likelihood.given) == (("label",), ())
    assert told is model.likelihood("test", given=("label",))
    assert told.likelihood.draws == blind.likelihood.draws == 2


def test_a_model_that_sees_no_labels_has_no_likelihood_given_them() -> None:
    with pytest.raises(ContractError, match="no likelihood given label"):
        trained(ModelConfig).likelihood("test", given=("label",))


class WithoutConfig(ModelConfig):
    def likelihood(self, data: DatasetInfo) -> NoLikelihood:
        return NoLikelihood(reason="it is trained by distillation alone")


def test_a_configuration_may_have_no_likelihood() -> None:
    model = trained(WithoutConfig)
    assert model.likelihood_kind is None
    spec = MetricSpec(
        name="m", compute="m:m", unit="", direction="lower", summary="",
        needs=frozenset({"likelihood"}),
    )  # fmt: skip
    reason = "Uniform has no likelihood in this configuration: it is trained by distillation alone"
    assert not_applicable(spec, INFO, model.model) == reason
    assert not_applicable(spec, INFO, trained().model) is None
    # A model of samples alone may say why, too.
    assert not_applicable(spec, INFO, GenerativeModel(ModelConfig(), INFO)) == (
        "GenerativeModel has no likelihood"
    )
    reason = reason.replace("Uniform", "GenerativeModel")
    assert not_applicable(spec, INFO, GenerativeModel(WithoutConfig(), INFO)) == reason
    with pytest.raises(ContractError, match="no likelihood"):
        model.likelihood("test")


def test_values_are_likely_given_a_context_that_the_model_names() -> None:
    model = trained()
    x, labels = np.zeros((2, 2), np.uint8), {"label": np.array([0, 2])}
    np.testing.assert_allclose(model.log_prob(x, labels) - model.log_prob(x), [0.0, 2.0])
    with pytest.raises(ContractError, match="no likelihood given label"):
        trained(ModelConfig).log_prob(x, labels)


class GivenConfig(ModelConfig):
    def likelihood(self, data: DatasetInfo) -> Likelihood:
        return Likelihood(measure="discrete", given=("label",))


def test_a_density_that_is_given_a_label_needs_it() -> None:
    model = trained(GivenConfig)
    x, labels = np.zeros((2, 2), np.uint8), {"label": np.array([0, 2])}
    assert np.diff(model.log_prob(x, labels)) == pytest.approx([2.0])
    with pytest.raises(ContractError, match=r"is given label; pass context=\{'label': ...\}"):
        model.log_prob(x)


def test_samples_of_other_numbers_and_settings_are_kept_apart() -> None:
    model = trained()
    assert model.samples() is model.samples(num=8)
    few = model.samples(num=3, settings=SampleSettings(temperature=0.5))
    assert (len(few.x), few.temperature) == (3, 0.5)
    assert few is model.samples(3, SampleSettings(temperature=0.5))


def test_a_metric_of_labels_needs_them(fake_registry: Registry) -> None:
    spec = MetricSpec(
        name="m", compute="m:m", unit="", direction="lower", summary="", needs=frozenset({"label"})
    )
    assert not_applicable(spec, INFO) is None
    vectors = load_dataset(fake_registry, "fake-vectors", ".").info
    assert not_applicable(spec, vectors) == (
        "m is defined for data with class labels, fake-vectors has none"
    )


def test_sampling_tells_how_far_it_is_over_all_batches() -> None:
    told: list[tuple[str, float]] = []
    trained(progress=lambda *what: told.append(what)).samples()
    assert told == [("sampling", part) for part in (0.0, 0.25, 0.5, 0.75, 1.0)]


def test_evaluating_test_data_tells_how_far_it_is_and_a_look_does_not() -> None:
    told: list[tuple[str, float]] = []
    model = trained(progress=lambda *what: told.append(what))
    model.likelihood("validation")
    assert told == []
    model.likelihood("test")
    what, parts = zip(*told, strict=True)
    assert set(what) == {"evaluating"}
    assert list(parts) == sorted(set(parts))
    assert (parts[0], parts[-1]) == (0.0, 1.0)
    assert len(parts) > NUM / 4


def test_unknown_options_are_refused_by_default() -> None:
    config = ModelConfig()
    assert unsupported_sampling(config, SampleSettings(temperature=0.5), INFO) is None
    reason = unsupported_sampling(config, SampleSettings(options={"guidance": 2}), INFO)
    assert reason == "unknown sampling option 'guidance'; this model knows: temperature"
    assert config.likelihood(INFO) == Likelihood(measure="discrete")


def test_log_prob_of_test_data_is_their_likelihood(fake_registry: Registry) -> None:
    data = load_dataset(fake_registry, "fake-vectors", ".")
    config = GaussianConfig(preprocessing=Preprocessing())
    model = build_model(fake_registry, "fake-gaussian", config.model_dump(), data.info).eval()
    preprocessor = Preprocessor(model.config.preprocessing, data.info, torch.device("cpu"))
    preprocessor.fit(data.splits.train)
    ticks: list[int] = []
    doing: list[str] = []
    harness = Harness(
        preprocessor=preprocessor,
        splits=data.splits,
        settings=MetricSettings(eval_draws=2),
        tick=lambda: ticks.append(1),
        announce=doing.append,
    )
    trained = EvaluatedModel(model, harness, NO_COST)
    given = trained.log_prob(data.splits.test.x)
    np.testing.assert_allclose(given, trained.likelihood("test").log_prob, rtol=1e-6)
    ticks.clear()
    trained.tick()
    trained.tick("measuring")
    assert (len(ticks), doing) == (2, ["measuring"])
    assert (trained.weights, trained.data_sha256) == (None, "")


def test_a_large_validation_split_is_looked_at_in_the_same_examples_each_time() -> None:
    size = LOOK_EXAMPLES + 500
    x = np.arange(2 * size).reshape(size, 2)
    split = Split(x=x, context={"label": np.zeros(size, np.int64)})
    few = Split(x=x[:4], context={"label": np.zeros(4, np.int64)})

    def looked_at(validation: Split, part: float = 1.0) -> Split:
        preprocessor = Preprocessor(ConditionalConfig().preprocessing, INFO)
        splits = DataSplits(train=few, validation=validation, test=few)
        harness = Harness(preprocessor=preprocessor, splits=splits, settings=MetricSettings())
        return harness.looked_at(part)

    first, again, whole = looked_at(split), looked_at(split), looked_at(few)
    assert len(first) == LOOK_EXAMPLES
    assert np.array_equal(first.x, again.x)
    assert not np.array_equal(first.x, x[:LOOK_EXAMPLES])
    assert whole is few
    small, half = looked_at(split, 1 / 8), looked_at(split, 1 / 2)
    assert (len(small), len(half), len(looked_at(few, 1 / 8))) == (125, 500, 1)
    rows = [set(map(tuple, part.x.tolist())) for part in (small, half, first)]
    assert rows[0] < rows[1] < rows[2]


@pytest.mark.parametrize(
    ("noise", "times"), [(UniformDequantization(), 6 * NUM / 2), (None, NUM / 2)]
)
def test_the_test_split_takes_the_passes_of_a_look_many_times(
    noise: UniformDequantization | None, times: float
) -> None:
    split = Split(x=np.zeros((NUM, 2), np.int64), context={"label": np.zeros(NUM, np.int64)})
    model = Uniform(ModelConfig(preprocessing=Preprocessing(noise=noise)))
    harness = Harness(
        preprocessor=Preprocessor(model.config.preprocessing, INFO),
        splits=DataSplits(train=split, validation=split.take(np.arange(2)), test=split),
        settings=MetricSettings(eval_draws=12, validation_draws=2),
    )
    assert harness.tests_per_look(model) == times
