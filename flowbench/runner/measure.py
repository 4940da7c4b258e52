"""Measuring of a trained model: its metrics, its likelihoods and samples for the record."""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from pydantic import ValidationError

from flowbench.api.data import Artifact
from flowbench.api.metrics import Samples
from flowbench.api.protocol import MetricSettings
from flowbench.api.specs import MetricSpec, MetricValue, is_main_value
from flowbench.data.library.splits import LoadedData
from flowbench.errors import printable, reason_of
from flowbench.evaluation.evaluate import compute_metric
from flowbench.evaluation.trained import EvaluatedModel
from flowbench.evaluation.values import checked_values, failed_value
from flowbench.registry.containment import undisturbed
from flowbench.registry.registry import Entry
from flowbench.runner.attempt import MEASURED, MODEL, SAMPLES, Measured
from flowbench.runner.grid import LogProb, over_contexts, sample_grid
from flowbench.runner.kept_model import Trained, take_model
from flowbench.runner.setup import Built, Ground, note_preprocessing
from flowbench.runner.under_way import Attempt
from flowbench.store.artifacts import checked_artifacts, write_artifacts
from flowbench.store.attempt_files import LIKELIHOODS, first_line
from flowbench.store.records import INFO, RUNG, MeasurementRow, on_rung
from flowbench.training.observer import Preempted


def measure(attempt: Attempt, ground: Ground, built: Built, trained: Trained) -> None:
    """Computes the job's metrics, and keeps likelihoods and samples.

    Args:
        ground: What the job stands on.
        built: The model, with the weights that were chosen.

    Raises:
        Preempted: It was asked to stop.
    """
    note_preprocessing(attempt, built.harness.preprocessor)  # a resumed attempt has it only now
    model = EvaluatedModel(built.model, built.harness, trained.cost, trained.weights)
    _compute_metrics(attempt, ground, built, model)
    # After the metrics, which have evaluated them already: here they are only taken up.
    _keep_likelihoods(attempt, model)
    _keep_samples(attempt, ground, model)


def _compute_metrics(attempt: Attempt, ground: Ground, built: Built, model: EvaluatedModel) -> None:
    """Notes each metric's values as soon as they are there."""
    model.protect()
    print_of_weights = _print_of(built)
    for name in attempt.order.metrics:
        attempt.breathe()
        attempt.now("measuring", name)
        entry = ground.registry.metric(name)
        # Before each: one that takes the process with it takes no value of the others.
        so_far = Measured(at=name, rows=attempt.known.get("measurements", ()))
        attempt.directory.write(MEASURED, so_far.model_dump_json())
        with undisturbed() as changed:
            values, failure = _values(attempt, ground, built, model, entry)
        if _print_of(built) != print_of_weights:
            # As they were kept: a copy of them would take as much memory again.
            take_model(attempt.directory.path / MODEL, built.model, built.harness.preprocessor)
            changed.append("the model's weights or mode")
        if changed:
            reason = f"it changed {', '.join(changed)}: put back for the others"
            values = [failed_value(entry.spec, reason)]
        code = attempt.code.metrics.get(name) if attempt.code is not None else None
        # After each: an attempt that is stopped here keeps what it has measured.
        _add(attempt, *(measurement_row(entry.spec, value, code) for value in values))
        if failure is not None:
            print(f"metric {name} failed:\n{failure}", file=sys.stderr)


def _values(
    attempt: Attempt,
    ground: Ground,
    built: Built,
    model: EvaluatedModel,
    entry: Entry[MetricSpec],
) -> tuple[list[MetricValue], str | None]:
    """What a metric says of a model, and the traceback of the first failure.

    Where a run asks for the sampling ladder, what it says of samples under each of its settings
    too, unless there is nothing to be had under the usual one.
    """
    spec, settings = entry.spec, built.harness.settings

    def compute(
        model: EvaluatedModel, settings: MetricSettings
    ) -> tuple[list[MetricValue], str | None]:
        load = partial(entry.resolve, spec.compute)
        splits, alone = built.harness.shown, attempt.alone
        return compute_metric(spec, load, model, splits, settings, alone, stop=Preempted)

    values, failure = compute(model, settings)
    names = {value.name for value in values if value.status == "ok"} & _climbing(spec, values)
    ladder = model.config.sampling_ladder(ground.data.info) if attempt.order.ladder else ()
    for rung in ladder if names else ():
        attempt.breathe()
        attempt.now("measuring", f"{spec.name}, {rung}")
        found, failed = compute(model.drawn_by(rung), settings.model_copy(update={"sample": rung}))
        failure = failure or failed
        text = str(rung)
        values += [
            replace(v, name=on_rung(v.name, text), protocol={**v.protocol, RUNG: text})
            for v in found
            if v.name in names or v.status == "failed"
        ]
    return values, failure


def _climbing(spec: MetricSpec, values: Sequence[MetricValue]) -> set[str]:
    """Names of values that are measured along a sampling ladder."""
    return {v.name for v in values if any(is_main_value(name, v.name) for name in spec.ladder)}


def _print_of(built: Built) -> str:
    """A fingerprint of all that evaluation reads of the model: weights, buffers, modes."""
    digest = hashlib.blake2b()
    for name, value in (built.model.state_dict() | built.harness.preprocessor.state_dict()).items():
        digest.update(f"{name} ".encode())
        if isinstance(value, torch.Tensor):
            content = value.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(content.numpy().data)
        else:
            digest.update(repr(value).encode())
    digest.update(bytes(module.training for module in built.model.modules()))
    return digest.hexdigest()


def _add(attempt: Attempt, *rows: MeasurementRow) -> None:
    attempt.note(measurements=(*attempt.known.get("measurements", ()), *rows))


def _keep_likelihoods(attempt: Attempt, model: EvaluatedModel) -> None:
    """Keeps those of every test example, so that rows of a board can be compared in pairs."""
    if model.likelihood_kind is None:
        return
    attempt.now("measuring", "likelihoods")
    result = model.likelihood("test")
    attempt.note(likelihood=result.likelihood.model_dump(mode="json"))
    attempt.write_arrays(LIKELIHOODS, test=result.log_prob, test_elbo=result.elbo)
    given: dict[str, Any] = {"split": "test", "num_examples": len(result.log_prob)}
    _keep_info(attempt, INFO, result.info, **given)


def _keep_samples(attempt: Attempt, ground: Ground, model: EvaluatedModel) -> None:
    """Keeps samples, and what shows them; a sampler that fails costs these alone.

    Raises:
        Preempted: It was asked to stop.
    """
    attempt.now("measuring", "samples")
    try:
        samples = model.samples()
        sources = {} if samples.sources is None else {"test_rows": samples.sources}
        attempt.write_arrays(SAMPLES, x=samples.x, **samples.context, **sources)
        artifacts = _artifacts(ground, model, samples)
    except Preempted:
        raise
    except BaseException as exc:  # a border: what was measured is kept
        spec = MetricSpec(
            name="samples", compute="", unit="", direction="none", summary="", role="witness"
        )
        _add(attempt, measurement_row(spec, failed_value(spec, reason_of(exc)), None))
        print(f"samples failed:\n{traceback.format_exc()}", file=sys.stderr)
        return
    _keep_info(attempt, f"{INFO}sample/", samples.info, num_examples=len(samples.x))
    if artifacts:
        write_artifacts(attempt.directory.path, artifacts)


def _artifacts(ground: Ground, model: EvaluatedModel, samples: Samples) -> tuple[Artifact, ...]:
    """Samples as people look at or listen to them: as the dataset shows them, or on a grid."""
    data = ground.data
    entry = ground.registry.dataset(data.info.name)
    if entry.spec.render is None:
        return sample_grid(samples.x, data, _density(model, data))
    return checked_artifacts(entry.resolve(entry.spec.render)(samples, data.info))


def _density(model: EvaluatedModel, data: LoadedData) -> LogProb | None:
    """The model's density of values alone, if it has one."""
    if model.likelihood_kind is None:
        return None
    if not model.likelihood_kind.given:
        return model.log_prob
    context = {name: data.splits.test.context[name] for name in model.likelihood_kind.given}
    return over_contexts(model.log_prob, context)


def _keep_info(attempt: Attempt, prefix: str, info: Mapping[str, float], **given: Any) -> None:
    """Keeps the means of what a model says of its own work, each as a value of its own."""
    for name, mean in info.items():
        shown: dict[str, Any] = {"name": prefix + printable(name), "unit": "", "direction": "none"}
        spec = MetricSpec(compute="", summary="", role="witness", **shown)
        value = MetricValue(value=mean, **shown, **given)
        _add(attempt, *(measurement_row(spec, v, None) for v in checked_values(spec, [value])))


def measurement_row(spec: MetricSpec, value: MetricValue, code: str | None) -> MeasurementRow:
    """A metric's value as it is stored, with how it is shown and the code that made it."""
    shown = spec.presentation(value.name, value.unit)
    fields = vars(value).copy()
    fields["n"] = fields.pop("num_examples")
    fields["refutes"] = spec.refutation(value)
    try:
        return MeasurementRow(metric=spec.name, code=code, **fields, **shown)
    except ValidationError as exc:  # a protocol that states no likelihood under that name
        reason = f"its protocol cannot be kept: {first_line(exc)}"
        return measurement_row(spec, replace(failed_value(spec, reason), name=value.name), code)
