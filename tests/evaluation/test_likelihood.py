"""The likelihood protocol against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from flowbench.api import (
    Context,
    DatasetInfo,
    DensityModel,
    Info,
    Likelihood,
    LikelihoodResult,
    Logit,
    ModelConfig,
    Preprocessing,
    Scale,
    Split,
    Standardise,
    UniformDequantization,
    bits_per_dim,
)
from flowbench.api.models import LOG_2PI
from flowbench.data.preprocess import Preprocessor
from flowbench.errors import ShapeError
from flowbench.evaluation.likelihood import draw_stderr, evaluate_likelihood, log_mean_exp
from tests.fakes import LatentConfig, LinearGaussianLatent

LogProb = Callable[[Tensor, Context | None, torch.Generator | None], Tensor]

DEQUANTIZED = Likelihood(measure="discrete", dequantization="uniform", noise="weights", bound=True)


def image_info(levels: int, shape: tuple[int, ...] = (1, 4, 4)) -> DatasetInfo:
    return DatasetInfo(
        name="images",
        modality="image",
        event_shape=shape,
        levels=levels,
        num_train=100,
        num_validation=0,
        num_test=100,
    )


def vector_info(dims: int) -> DatasetInfo:
    return DatasetInfo(
        name="vectors",
        modality="vector",
        event_shape=(dims,),
        levels=None,
        num_train=100,
        num_validation=0,
        num_test=100,
    )


class Closed(DensityModel):
    """A density given by a function of (x, context, generator)."""

    def __init__(self, config: ModelConfig, data: DatasetInfo, function: LogProb) -> None:
        super().__init__(config, data)
        self.function = function
        self.anchor = nn.Parameter(torch.zeros(1))

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Info]:
        return self.function(x, context, generator), {"nfe": torch.tensor(7.0)}


class CountsRows(Closed):
    """Notes how many rows a pass has."""

    def log_prob(
        self, x: Tensor, context: Context | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Info]:
        values, _ = super().log_prob(x, context, generator=generator)
        return values, {"rows": torch.full((len(x),), float(len(x)))}


def evaluate(
    function: LogProb,
    info: DatasetInfo,
    x: NDArray[Any],
    preprocessing: Preprocessing | None = None,
    kind: Likelihood = DEQUANTIZED,
    draws: int = 1,
    context: Mapping[str, NDArray[Any]] | None = None,
    batch_size: int = 64,
    model_class: type[Closed] = Closed,
) -> LikelihoodResult:
    config = ModelConfig(preprocessing=preprocessing or Preprocessing())
    preprocessor = Preprocessor(config.preprocessing, info, dtype=torch.float64)
    split = Split(x=x, context=context or {})
    preprocessor.fit(split)
    return evaluate_likelihood(
        model_class(config, info, function),
        preprocessor,
        split,
        name="test",
        likelihood=kind,
        draws=draws,
        generator=torch.Generator().manual_seed(0),
        batch_size=batch_size,
    )


def integers(info: DatasetInfo, num: int = 64) -> NDArray[np.uint8]:
    assert info.levels is not None
    rng = np.random.default_rng(0)
    return rng.integers(0, info.levels, size=(num, *info.event_shape)).astype(np.uint8)


# The base density of each preprocessing's image that makes the model uniform on raw values.
def uniform_on(low: float, high: float) -> LogProb:
    return lambda x, *_: torch.full((len(x),), -math.log(high - low) * x[0].numel())


def logistic_of(alpha: float) -> LogProb:
    """Density of logit(alpha + (1 - 2 alpha) u) for uniform u."""

    def log_prob(y: Tensor, *_: object) -> Tensor:
        log_sigmoid = nn.functional.logsigmoid
        per_dim = log_sigmoid(y) + log_sigmoid(-y) - math.log(1 - 2 * alpha)
        return per_dim.flatten(1).sum(1)

    return log_prob


UNIFORMS = [
    (Preprocessing(noise=UniformDequantization()), lambda k: uniform_on(0, k)),
    (
        Preprocessing(noise=UniformDequantization(), bijections=(Scale(low=0, high=1),)),
        lambda k: uniform_on(0, 1),
    ),
    (
        Preprocessing(noise=UniformDequantization(), bijections=(Scale(low=-1, high=1),)),
        lambda k: uniform_on(-1, 1),
    ),
    (
        Preprocessing(
            noise=UniformDequantization(), bijections=(Scale(low=0, high=1), Logit(alpha=0.05))
        ),
        lambda k: logistic_of(0.05),
    ),
]


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize(("preprocessing", "density"), UNIFORMS)
def test_a_uniform_model_has_exactly_log2_k_bits(
    preprocessing: Preprocessing, density: Callable[[int], LogProb], levels: int
) -> None:
    info = image_info(levels)
    result = evaluate(density(levels), info, integers(info), preprocessing, draws=4)
    bits = bits_per_dim(result.log_prob, result.num_dims)
    assert np.allclose(bits, math.log2(levels), atol=1e-6)
    assert np.allclose(bits_per_dim(result.elbo, result.num_dims), math.log2(levels), atol=1e-6)


def test_a_gaussian_has_its_entropy() -> None:
    info, std = vector_info(3), 2.5
    x = np.random.default_rng(0).normal(0, std, size=(40_000, 3)).astype(np.float32)

    def log_prob(z: Tensor, *_: object) -> Tensor:
        return (-0.5 * ((z / std) ** 2 + LOG_2PI) - math.log(std)).sum(1)

    kind = Likelihood(measure="continuous")
    result = evaluate(log_prob, info, x, kind=kind, batch_size=5000)
    entropy = 3 * (0.5 * (LOG_2PI + 1) + math.log(std))
    error = result.log_prob.std() / len(x) ** 0.5
    assert abs(-result.log_prob.mean() - entropy) < 4 * error


def test_standardising_changes_the_density_by_its_ladj() -> None:
    info = vector_info(2)
    x = np.random.default_rng(0).normal([1.0, -5.0], [2.0, 0.1], size=(4000, 2)).astype(np.float32)

    def log_prob(z: Tensor, *_: object) -> Tensor:
        return (-0.5 * (z**2 + LOG_2PI)).sum(1)

    kind = Likelihood(measure="continuous")
    preprocessing = Preprocessing(bijections=(Standardise(),))
    result = evaluate(log_prob, info, x, preprocessing, kind)
    std, mean = x.astype(np.float64).std(0), x.astype(np.float64).mean(0)
    expected = (-0.5 * (((x - mean) / std) ** 2 + LOG_2PI) - np.log(std)).sum(1)
    assert np.allclose(result.log_prob, expected, atol=1e-4)


def test_a_discretised_logistic_is_approached_by_its_dequantized_bound() -> None:
    """P(x) = F(x + 1) - F(x); the density of the continuous logistic bounds it from below."""
    info, mean, scale = image_info(8, (1, 2, 2)), 4.0, 0.6
    x = integers(info, 200)
    edges = (np.stack([x, x + 1.0]) - mean) / scale
    cdf = 1 / (1 + np.exp(-edges))
    exact = np.log(cdf[1] - cdf[0]).reshape(len(x), -1).sum(1)

    def log_prob(y: Tensor, *_: object) -> Tensor:
        z = (y - mean) / scale
        return (-z - 2 * nn.functional.softplus(-z) - math.log(scale)).flatten(1).sum(1)

    noise = Preprocessing(noise=UniformDequantization())
    gaps = [
        exact.mean() - evaluate(log_prob, info, x, noise, draws=k).log_prob.mean()
        for k in (1, 8, 512)
    ]
    assert gaps[0] > gaps[1] > gaps[2] > -0.005
    assert gaps[2] < 0.02


@pytest.mark.slow
def test_the_importance_weighted_bound_approaches_the_exact_likelihood() -> None:
    info = vector_info(2)
    x = np.random.default_rng(1).normal(0, 2**0.5, size=(500, 2)).astype(np.float32)
    exact = (-0.25 * x.astype(np.float64) ** 2 - 0.5 * math.log(4 * math.pi)).sum(1)
    model = LinearGaussianLatent(LatentConfig(), info)
    kind = Likelihood(measure="continuous", noise="weights", bound=True)

    def log_prob(x: Tensor, _: object, generator: torch.Generator | None) -> Tensor:
        return model.log_prob(x, generator=generator)

    def gap(draws: int) -> float:
        result = evaluate(log_prob, info, x, kind=kind, draws=draws)
        return float(exact.mean() - result.log_prob.mean())

    gaps = [gap(k) for k in (1, 4, 32, 512)]
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3]
    assert abs(gaps[3]) < 0.005
    elbo = evaluate(log_prob, info, x, kind=kind, draws=512).elbo
    assert np.isclose(exact.mean() - elbo.mean(), gaps[0], atol=0.05)


def test_estimator_noise_does_not_raise_an_unbiased_estimate() -> None:
    """Hutchinson-like noise of standard deviation 2: log-mean-exp would add about 2 nats."""
    info = vector_info(2)
    x = np.zeros((400, 2), np.float32)

    def noisy(z: Tensor, _: object, generator: torch.Generator | None) -> Tensor:
        return -3.0 + 2.0 * torch.randn(len(z), generator=generator, dtype=z.dtype)

    unbiased = Likelihood(measure="continuous", noise="estimates")
    result = evaluate(noisy, info, x, kind=unbiased, draws=64)
    assert result.draw_stderr is not None
    assert abs(result.log_prob.mean() + 3.0) < 4 * result.draw_stderr
    assert np.isclose(result.draw_stderr, 2 / (400 * 64) ** 0.5, rtol=0.05)
    as_weights = evaluate(
        noisy,
        info,
        x,
        kind=unbiased.model_copy(update={"noise": "weights", "bound": True}),
        draws=64,
    )
    assert as_weights.log_prob.mean() > -2.0


@pytest.mark.parametrize(("sigma", "off"), [(0.1, 0.05), (1.0, 0.1), (3.0, 0.15), (8.0, 0.15)])
def test_the_error_of_a_bound_is_what_repeating_it_shows(sigma: float, off: float) -> None:
    """At sigma 8 one weight outweighs the others; the delta method says a fifth of the truth."""
    rng = np.random.default_rng(0)
    again = [sigma * rng.standard_normal((200, 16)) for _ in range(300)]
    truth = np.std([log_mean_exp(log_weights).mean() for log_weights in again], ddof=1)
    said = np.mean([draw_stderr(log_weights, True) for log_weights in again[:30]])
    assert said == pytest.approx(truth, rel=off + 0.04 * 3)  # 300 repeats know it to 4 %
    assert said > 0.9 * truth


def test_the_jackknife_leaves_out_each_draw() -> None:
    given = np.array([[0.0, -900.0, 2.0, -1.0], [1.0, 1.0, 1.0, 1.0], [-5.0, 800.0, 0.0, 3.0]])
    variances = []
    for row in given:
        left = [log_mean_exp(np.delete(row, j)[None])[0] for j in range(4)]
        variances.append(3 / 4 * np.sum((np.array(left) - np.mean(left)) ** 2))
    assert draw_stderr(given, True) == pytest.approx(math.sqrt(sum(variances)) / 3)
    two = np.array([[0.0, 2.0]])
    assert draw_stderr(two, True) == pytest.approx(1.0)
    assert draw_stderr(given[:, :1], True) is None


def test_every_example_once_whatever_the_batch_size() -> None:
    info = vector_info(1)
    x = np.arange(103, dtype=np.float32)[:, None]
    kind = Likelihood(measure="continuous")
    for size in (1, 10, 103, 1000):
        result = evaluate(lambda z, *_: z[:, 0], info, x, kind=kind, batch_size=size)
        assert np.array_equal(result.log_prob, x[:, 0])


def test_a_pass_takes_as_many_draws_as_its_rows_allow() -> None:
    info = vector_info(1)
    rows: list[int] = []

    def log_prob(z: Tensor, _: object, generator: torch.Generator | None) -> Tensor:
        rows.append(len(z))
        return z[:, 0] + torch.rand(len(z), generator=generator)

    kind = Likelihood(measure="continuous", noise="estimates")
    x = 10.0 * np.arange(5, dtype=np.float32)[:, None]
    result = evaluate(log_prob, info, x, kind=kind, draws=7, batch_size=16)
    assert rows == [15, 15, 5]  # three, three and one of seven draws for five examples
    drawn = result.log_prob - x[:, 0]
    assert ((drawn > 0) & (drawn < 1)).all()  # each example has the draws of its own
    assert len(set(drawn)) == len(x)


def test_where_memory_runs_out_passes_shrink_and_the_estimate_is_that_of_smaller_ones() -> None:
    info = image_info(4)
    x = integers(info, 50)

    def fits(most: int) -> LogProb:
        def log_prob(z: Tensor, *_: object) -> Tensor:
            if len(z) > most:
                raise torch.OutOfMemoryError("too many rows")
            return -z.square().flatten(1).sum(1)

        return log_prob

    with pytest.warns(UserWarning, match="64 rows in a pass .* passes of 16") as warned:
        halved = evaluate(fits(20), info, x, draws=4, batch_size=64)
    assert len(warned) == 1
    small = evaluate(fits(1000), info, x, draws=4, batch_size=16)
    assert np.array_equal(halved.log_prob, small.log_prob)
    with pytest.raises(torch.OutOfMemoryError, match="too many rows"):
        evaluate(fits(0), info, x, batch_size=64)


def test_diagnostics_are_means_over_rows() -> None:
    x = np.zeros((5, 1), np.float32)
    kind = Likelihood(measure="continuous")
    result = evaluate(
        lambda z, *_: z[:, 0], vector_info(1), x, kind=kind, batch_size=4, model_class=CountsRows
    )
    assert result.info == {"rows": pytest.approx((4 * 4 + 1 * 1) / 5)}


def test_labels_are_withheld_unless_the_likelihood_is_given_them() -> None:
    info = vector_info(1)
    x, context = np.zeros((4, 1), np.float32), {"label": np.arange(4)}
    seen: list[Context | None] = []

    def log_prob(z: Tensor, given: Context | None, _: object) -> Tensor:
        seen.append(given)
        return z[:, 0]

    kind = Likelihood(measure="continuous")
    evaluate(log_prob, info, x, kind=kind, context=context)
    evaluate(log_prob, info, x, kind=kind.model_copy(update={"given": ("label",)}), context=context)
    assert seen[0] is None
    assert seen[1] is not None
    assert torch.equal(seen[1]["label"], torch.arange(4))


def test_a_deterministic_likelihood_takes_one_draw_and_says_so() -> None:
    info = vector_info(1)
    kind = Likelihood(measure="continuous")
    result = evaluate(lambda z, *_: z[:, 0], info, np.ones((2, 1), np.float32), kind=kind, draws=16)
    assert result.likelihood.draws == 1
    assert result.draw_stderr is None
    assert result.info == {"nfe": 7.0}


def test_a_log_prob_that_is_not_summed_is_refused() -> None:
    info = vector_info(3)
    with pytest.raises(ShapeError, match=r"returned shape \(2, 3\) for a batch of 2; expected"):
        evaluate(lambda z, *_: z, info, np.ones((2, 3), np.float32))


@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=20))
def test_log_mean_exp_is_between_mean_and_maximum(weights: list[float]) -> None:
    value = log_mean_exp(np.array([weights]))[0]
    assert np.mean(weights) - 1e-9 <= value <= max(weights) + 1e-9
