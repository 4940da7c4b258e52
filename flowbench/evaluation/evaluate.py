"""Which metrics a job has, and what each of them says of a trained model."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from flowbench.api.data import DataSplits
from flowbench.api.likelihood import NoLikelihood
from flowbench.api.models import DensityModel, GenerativeModel, InvertibleModel
from flowbench.api.protocol import MetricSettings
from flowbench.api.specs import DatasetInfo, MetricSpec, MetricValue
from flowbench.errors import reason_of
from flowbench.evaluation.trained import EvaluatedModel
from flowbench.evaluation.values import checked_values, failed_value

Compute = Callable[[EvaluatedModel, DataSplits, MetricSettings], object]


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
    # A fact of the data, so it can be told before there is a model.
    if "label" in spec.needs and data.num_classes is None:
        return f"{spec.name} is defined for data with class labels, {data.name} has none"
    if "target" in spec.needs and data.target is None:
        return f"{spec.name} is defined for targets, {data.name} has examples"
    # So far for planning, which builds no model; what follows depends on its class.
    if model is None:
        return None
    name = type(model).__name__
    if "likelihood" in spec.needs:
        stated = model.config.likelihood(data)
        if isinstance(stated, NoLikelihood):
            return f"{name} has no likelihood in this configuration: {stated.reason}"
        if not isinstance(model, DensityModel):
            return f"{name} has no likelihood"
    if "inverse" in spec.needs and not isinstance(model, InvertibleModel):
        return f"{name} has no inverse"
    return None


def compute_metric(
    spec: MetricSpec,
    load: Callable[[], Compute],
    trained: EvaluatedModel,
    splits: DataSplits,
    settings: MetricSettings,
    exclusive: Callable[[], AbstractContextManager[Any]],
    stop: type[BaseException],
) -> tuple[list[MetricValue], str | None]:
    """Computes one metric; whatever goes wrong becomes a value that says so.

    Args:
        load: Gives the function that computes it; a worker's signals never interrupt the block, so
            that a `KeyboardInterrupt` or `SystemExit` in it is the metric's own.
        exclusive: Pauses the machine's other jobs, for metrics that are timed.
        stop: What asks the job to stop, and is no fault of the metric's.

    Returns:
        The values, and the traceback of a failure for the log.

    Raises:
        BaseException: ``stop``, if the job was asked to.
    """
    reason = not_applicable(spec, trained.data, trained.model)
    if reason is not None:
        return [MetricValue.unavailable(spec, reason)], None
    try:
        # Within the block: its module is a plugin's code as well.
        compute = load()
        if spec.exclusive:
            with exclusive():
                returned = compute(trained, splits, settings)
        else:
            returned = compute(trained, splits, settings)
        return checked_values(spec, returned), None
    except stop:
        raise
    except BaseException as exc:  # a border: one failed metric must not cost the others
        return [failed_value(spec, reason_of(exc))], traceback.format_exc()


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
