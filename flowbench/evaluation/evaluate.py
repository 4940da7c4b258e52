"""Which metrics a job has, and what each of them says of a trained model."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from flowbench.api.data import DataSplits
from flowbench.api.likelihood import NoLikelihood
from flowbench.api.models import DensityModel, GenerativeModel, InvertibleModel
from flowbench.api.protocol import MetricSettings
from flowbench.api.specs import DatasetInfo, MetricSpec, MetricValue
from flowbench.evaluation.trained import EvaluatedModel

Compute = Callable[[EvaluatedModel, DataSplits, MetricSettings], list[MetricValue]]


def not_applicable(
    spec: MetricSpec, data: DatasetInfo, model: GenerativeModel | None = None
) -> str | None:
    """Why a metric is not defined for a dataset or a model.

    Args:
        model: The configured model, where there is one already.

    Returns:
        The reason; None if it applies.
    """
    if data.modality not in spec.modalities:
        return f"{spec.name} is defined for {', '.join(sorted(spec.modalities))} data"
    kind = "continuous" if data.levels is None else "discrete"
    if spec.data not in (None, kind):
        return f"{spec.name} is defined for {spec.data} data, {data.name} is {kind}"
    if spec.num_dims not in (None, data.num_dims):
        return f"{spec.name} is defined for {spec.num_dims} dims, {data.name} has {data.num_dims}"
    if spec.datasets is not None and data.name not in spec.datasets:
        return f"{spec.name} is defined for {', '.join(sorted(spec.datasets))}"
    if "label" in spec.needs and data.num_classes is None:
        return f"{spec.name} is defined for data with class labels, {data.name} has none"
    if model is None:
        return None
    name = type(model).__name__
    if "likelihood" in spec.needs:
        if not isinstance(model, DensityModel):
            return f"{name} has no likelihood"
        stated = model.config.likelihood(data)
        if isinstance(stated, NoLikelihood):
            return f"{name} has no likelihood in this configuration: {stated.reason}"
    if "inverse" in spec.needs and not isinstance(model, InvertibleModel):
        return f"{name} has no inverse"
    return None


def compute_metric(
    spec: MetricSpec,
    compute: Compute,
    trained: EvaluatedModel,
    splits: DataSplits,
    settings: MetricSettings,
    exclusive: Callable[[], AbstractContextManager[Any]],
) -> tuple[list[MetricValue], str | None]:
    """Computes one metric; whatever goes wrong becomes a value that says so.

    Args:
        compute: The function that computes it.
        exclusive: Pauses the machine's other jobs, for metrics that are timed.

    Returns:
        The values, and the traceback of a failure for the log.
    """
    reason = not_applicable(spec, trained.data, trained.model)
    if reason is not None:
        return [MetricValue.unavailable(spec, reason)], None
    try:
        if spec.exclusive:
            with exclusive():
                values = compute(trained, splits, settings)
        else:
            values = compute(trained, splits, settings)
        return [_finite(value) for value in values], None
    except Exception as exc:  # a border: one failed metric must not cost the others
        text = " ".join(f"{type(exc).__name__}: {exc}".split())
        failed = MetricValue(
            name=spec.name,
            value=None,
            unit=spec.unit,
            direction=spec.direction,
            status="failed",
            reason=text[:500],
        )
        return [failed], traceback.format_exc()


def _finite(given: MetricValue) -> MetricValue:
    """NaN and infinity are never stored: the value is None and the status says why."""
    if given.value is None:
        return given
    if not math.isfinite(given.value):
        reason = f"the value is {given.value}"
        return replace(given, value=None, stderr=None, status="failed", reason=reason)
    bad_error = given.stderr is not None and not math.isfinite(given.stderr)
    return replace(given, stderr=None) if bad_error else given


def requested_metrics(
    specs: Mapping[str, MetricSpec], names: Iterable[str] | None, data: DatasetInfo
) -> list[str]:
    """The metrics of a job: those named, or the defaults that are defined for its data.

    Args:
        specs: All metrics by name.
        names: What the suite names; None takes all defaults that apply.

    Returns:
        Metric names, in order of registration or as named.
    """
    if names is not None:
        return list(names)
    return [
        name for name, spec in specs.items() if spec.default and not_applicable(spec, data) is None
    ]
