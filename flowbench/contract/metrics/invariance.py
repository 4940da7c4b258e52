"""What must not change a value, and which way a worse model must change it."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowbench.api.specs import Invariance, MetricValue
from flowbench.contract.checking.checks import (
    DoesNotApplyError,
    Finding,
    check,
    failed,
    passed,
    skipped,
    within,
)
from flowbench.contract.metrics.stage import SETTINGS, shift_likelihood, show, take_likelihood
from flowbench.contract.metrics.subject import MetricSubject

SAME = 1e-6  # relative: the same sum in another order
OTHER_BATCH_SIZE = 7  # divides none of the numbers of examples, so that the last batch is cut
WORSE_NATS = -1.0
SEED = 3


@check(
    "noise without a generator seeded from settings.seed",
    needs=("values", "inputs"),
)
def repeats(subject: MetricSubject) -> Finding:
    """A second evaluation gives the same values."""
    _comparable(subject)
    change = _change(subject.values, subject.measure())
    return within(change, SAME, "relative change in a second run")


@check(
    "means of batch means; a seed that is used for each batch; or `invariances`",
    needs=("repeats",),
)
def batch_size(subject: MetricSubject) -> Finding:
    """Batches of another size give the same values, if declared."""
    _comparable(subject, "batch_size")
    other = SETTINGS.model_copy(update={"batch_size": OTHER_BATCH_SIZE})
    change = _change(subject.values, subject.measure(other))
    return within(change, SAME, "relative change in other batches")


@check(
    "subsets from the front, pairs of neighbours, running means; or `invariances`",
    needs=("repeats", "batch_size"),
)
def order(subject: MetricSubject) -> Finding:
    """Test examples and samples in another order give the same values, if declared."""
    _comparable(subject, "order")
    stage = subject.stage
    if stage.result is None or stage.shown is None:
        return skipped("nothing to reorder")
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


@check(
    "`direction` of the spec, and the sign of the value",
    needs=("names", "repeats", "batch_size"),
)
def direction(subject: MetricSubject) -> Finding:
    """A model that is worse for certain has no better value."""
    spec, stage = subject.spec, subject.stage
    _comparable(subject)
    if spec.direction == "none":
        return skipped("no direction is better")
    if "likelihood" in spec.needs and stage.result is not None:
        changes: dict[str, Any] = {"result": shift_likelihood(stage.result, WORSE_NATS)}
        words = "test likelihoods lowered by 1 nat"
    elif "samples" in spec.needs and stage.shown is not None:
        # Stripes from end to end of the range: no metric can take them for data.
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
    # Equal is allowed: a metric may not see this change.
    slack = SAME * max(1.0, abs(before.value))
    if gain > slack:
        return failed(f"{words}: {before.value:.4g} became {after.value:.4g}, called better")
    return passed(f"{words}: {before.value:.4g} became {after.value:.4g}")


def _comparable(subject: MetricSubject, declared: Invariance | None = None) -> None:
    """Asks whether a second value can be held against the first, and is declared to equal it.

    Raises:
        DoesNotApplyError: It cannot, or is not.
    """
    main = subject.main()
    if subject.spec.exclusive:
        raise DoesNotApplyError("it measures time")
    if main is not None and main.status != "ok":
        raise DoesNotApplyError(f"{main.status} here: {main.reason}")
    if declared is not None and declared not in subject.spec.invariances:
        raise DoesNotApplyError(f"`invariances` of the spec does not name {declared!r}")


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
