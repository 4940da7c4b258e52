"""What must not change a value, and which way a worse model must change it."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowbench.api.specs import Invariance, MetricValue
from flowbench.contract.checks import Check, Finding, failed, passed, skipped, within
from flowbench.contract.metrics.stage import SETTINGS, shift_likelihood, show, take_likelihood
from flowbench.contract.metrics.subject import MetricSubject

SAME = 1e-6  # relative: the same sum in another order
OTHER_BATCH_SIZE = 7  # divides none of the numbers of examples, so that the last batch is cut
WORSE_NATS = -1.0
SEED = 3


def check_repeats(subject: MetricSubject) -> Finding:
    """Two evaluations give the same values."""
    reason = _not_comparable(subject)
    if reason is not None:
        return skipped(reason)
    return within(
        _change(subject.values, subject.measure()), SAME, "relative change in a second run"
    )


def check_batch_size(subject: MetricSubject) -> Finding:
    """Batches of another size give the same values."""
    reason = _not_comparable(subject) or _not_declared(subject, "batch_size")
    if reason is not None:
        return skipped(reason)
    other = SETTINGS.model_copy(update={"batch_size": OTHER_BATCH_SIZE})
    return within(
        _change(subject.values, subject.measure(other)), SAME, "relative change in other batches"
    )


def check_order(subject: MetricSubject) -> Finding:
    """Test examples and samples in another order give the same values."""
    reason = _not_comparable(subject) or _not_declared(subject, "order")
    stage = subject.stage
    if reason is not None or stage.result is None or stage.shown is None:
        return skipped(reason or "nothing to reorder")
    rng = np.random.default_rng(SEED)
    test, samples = rng.permutation(len(stage.splits.test)), rng.permutation(len(stage.shown.x))
    values = subject.measure(
        result=take_likelihood(stage.result, test),
        shown=show(stage.shown, stage.shown.x[samples], samples),
        splits=type(stage.splits)(
            train=stage.splits.train,
            validation=stage.splits.validation,
            test=stage.splits.test.take(test),
        ),
    )
    return within(_change(subject.values, values), SAME, "relative change in another order")


def check_direction(subject: MetricSubject) -> Finding:
    """A model that is worse for certain has no better value."""
    spec, stage = subject.spec, subject.stage
    reason = _not_comparable(subject)
    if reason is not None or spec.direction == "none":
        return skipped(reason or "no direction is better")
    if "likelihood" in spec.needs and stage.result is not None:
        changes: dict[str, Any] = {"result": shift_likelihood(stage.result, WORSE_NATS)}
        words = "test likelihoods lowered by 1 nat"
    elif "samples" in spec.needs and stage.shown is not None:
        low, high = stage.splits.test.x.min(), stage.splits.test.x.max()
        flat = np.where(np.arange(stage.shown.x.size) % 2, low, high)
        noise = flat.reshape(stage.shown.x.shape).astype(stage.shown.x.dtype)
        changes = {"shown": show(stage.shown, noise)}
        words = "samples replaced by one pattern of stripes"
    else:
        return skipped("it measures neither likelihoods nor samples")
    before, after = subject.main(), subject.main(subject.measure(**changes))
    if before is None or after is None or before.value is None or after.value is None:
        return skipped("there is no value to compare")
    gain = after.value - before.value if spec.direction == "higher" else before.value - after.value
    slack = SAME * max(1.0, abs(before.value))
    if gain > slack:
        return failed(f"{words}: {before.value:.4g} became {after.value:.4g}, called better")
    return passed(f"{words}: {before.value:.4g} became {after.value:.4g}")


def _not_comparable(subject: MetricSubject) -> str | None:
    return "it measures time" if subject.spec.exclusive else subject.unavailable


def _not_declared(subject: MetricSubject, name: Invariance) -> str | None:
    declared = name in subject.spec.invariances
    return None if declared else f"`invariances` of the spec does not name {name!r}"


def _change(a: list[MetricValue], b: list[MetricValue]) -> float:
    """Largest relative difference of values; infinite if they are not the same values."""
    other = {value.name: value.value for value in b}
    if {value.name for value in a} != set(other):
        return float("inf")
    errors = [0.0]
    for value in a:
        now = other[value.name]
        if value.value is None or now is None:
            errors.append(0.0 if value.value is now else float("inf"))
        else:
            errors.append(abs(now - value.value) / max(1e-12, abs(value.value), abs(now)))
    return max(errors)


CHECKS = (
    Check(
        name="repeats",
        asks="a second evaluation gives the same values",
        look_at="noise without a generator seeded from settings.seed",
        run=check_repeats,
        needs=("values", "inputs"),
    ),
    Check(
        name="batch_size",
        asks="batches of another size give the same values, if declared",
        look_at="means of batch means; a seed that is used for each batch; or `invariances`",
        run=check_batch_size,
        needs=("repeats",),
    ),
    Check(
        name="order",
        asks="test examples and samples in another order give the same values, if declared",
        look_at="subsets from the front, pairs of neighbours, running means; or `invariances`",
        run=check_order,
        needs=("repeats", "batch_size"),
    ),
    Check(
        name="direction",
        asks="a model that is worse for certain has no better value",
        look_at="`direction` of the spec, and the sign of the value",
        run=check_direction,
        needs=("names", "repeats", "batch_size"),
    ),
)
