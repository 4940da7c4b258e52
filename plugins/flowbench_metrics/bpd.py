r"""Bits per dimension: :math:`-\log_2 P(x) / D`, the mean over all test examples.

References:
    Theis et al. (2016), A note on the evaluation of generative models,
    https://arxiv.org/abs/1511.01844, section 3.1.
"""

from __future__ import annotations

from flowbench.api import (
    DataSplits,
    LikelihoodResult,
    MetricSettings,
    MetricSpec,
    MetricValue,
    TrainedModel,
    bits_per_dim,
)
from flowbench_metrics.per_example import mean_value, noisy_values
from flowbench_metrics.specs import BPC, BPD, BPD_GIVEN_LABEL


def compute(trained: TrainedModel, data: DataSplits, settings: MetricSettings) -> list[MetricValue]:
    """Bits per dimension on test.

    Args:
        trained: The model; gives the likelihood of every test example.
        data: Not used.
        settings: Not used; the harness has applied them to the likelihood.

    Returns:
        ``bpd`` from the best estimate of each example's likelihood, ``bpd_elbo`` from the plain
        mean of the same draws, and ``bpd_draw_stderr``, the part of bpd's uncertainty that more
        draws would remove, where there was more than one draw.
    """
    del data, settings
    return _values(BPD, trained.likelihood("test"))


def compute_bpc(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    """Bits per character on test: those per dimension, where a dimension is a character.

    Args:
        trained: The model.
        data: Not used.
        settings: Not used; the harness has applied them to the likelihood.

    Returns:
        What `compute` returns, under names that begin with ``bpc``.
    """
    del data, settings
    return _values(BPC, trained.likelihood("test"))


def compute_given_label(
    trained: TrainedModel, data: DataSplits, settings: MetricSettings
) -> list[MetricValue]:
    """Bits per dimension on test, given the label of each example.

    Args:
        trained: The model.
        data: Not used.
        settings: Not used; the harness has applied them to the likelihood.

    Returns:
        What `compute` returns, under names that begin with ``bpd_given_label``.
    """
    del data, settings
    if ("label",) not in trained.config.also_given(trained.data):
        reason = "the model sees no labels, or knows no density without them"
        return [MetricValue.unavailable(BPD_GIVEN_LABEL, reason)]
    return _values(BPD_GIVEN_LABEL, trained.likelihood("test", given=("label",)))


def _values(spec: MetricSpec, result: LikelihoodResult) -> list[MetricValue]:
    if result.likelihood.measure == "noisy":
        return noisy_values(spec, result)
    if result.likelihood.measure == "continuous":
        reason = "the model states a density of continuous data, which has no bits per dimension"
        return [MetricValue.unavailable(spec, reason)]
    elbo = bits_per_dim(result.elbo, result.num_dims)
    values = [
        mean_value(spec, result, bits_per_dim(result.log_prob, result.num_dims)),
        mean_value(spec, result, elbo, name=f"{spec.name}_elbo"),
    ]
    if result.draw_stderr is not None:
        values.append(
            MetricValue(
                name=f"{spec.name}_draw_stderr",
                value=bits_per_dim(-result.draw_stderr, result.num_dims),
                unit=spec.unit,
                direction="none",
                split=result.split,
                num_examples=len(result.log_prob),
                protocol=result.likelihood.model_dump(mode="json"),
            )
        )
    return values
