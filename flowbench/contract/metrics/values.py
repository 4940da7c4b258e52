"""What a metric returns: names, units, numbers, and reasons where there is no number."""

from __future__ import annotations

import math
from typing import Any

from flowbench.api.specs import MetricValue
from flowbench.contract.checks import Check, Finding, failed, passed
from flowbench.contract.metrics.subject import MetricSubject


def check_values(subject: MetricSubject) -> Finding:
    """A list of `MetricValue`, each finite or with a reason."""
    values = subject.values
    wrong = [v for v in values if not isinstance(v, MetricValue)]
    if not isinstance(values, list) or wrong or not values:
        return failed("compute must return a list of one MetricValue or more")
    for value in values:
        problem = _problem(value)
        if problem is not None:
            return failed(f"{value.name}: {problem}")
    return passed(", ".join(_words(value) for value in values))


def _problem(value: MetricValue) -> str | None:
    if value.status != "ok":
        if value.value is not None:
            return f"status {value.status!r} with the value {value.value}; it must be None"
        return None if value.reason else f"status {value.status!r} without a reason"
    if value.value is None or not math.isfinite(value.value):
        return f"status 'ok' with the value {value.value}; give status and reason instead"
    if value.stderr is not None and not value.stderr >= 0:
        return f"a standard error of {value.stderr}"
    return None


def _words(value: MetricValue) -> str:
    return f"{value.name} = {value.value:.4g}" if value.value is not None else value.name


def check_names(subject: MetricSubject) -> Finding:
    """One value has the metric's name, unit and direction; the others' names begin with it."""
    spec, values = subject.spec, subject.values
    names = [value.name for value in values]
    if len(set(names)) != len(names):
        return failed(f"two values of one name among {', '.join(names)}")
    main = subject.main()
    if main is None:
        return failed(f"no value is named {spec.name!r} (there are {', '.join(names)})")
    alien = [name for name in names if not name.startswith(spec.name)]
    if alien:
        return failed(f"the value {alien[0]!r} must begin with {spec.name!r}, or it can clash")
    if (main.unit, main.direction) != (spec.unit, spec.direction):
        return failed(
            f"{main.name} has unit {main.unit!r} and direction {main.direction!r}; "
            f"the spec says {spec.unit!r} and {spec.direction!r}"
        )
    return passed(f"unit {spec.unit!r}, {spec.direction} is better, {len(names)} values")


def check_needs(subject: MetricSubject) -> Finding:
    """What `needs` does not name is not asked for: not every model has it."""
    needs = subject.spec.needs
    refused: dict[str, Any] = {}
    if "likelihood" not in needs:
        refused["result"] = None
    if "samples" not in needs:
        refused["shown"] = None
    subject.measure(**refused)
    return passed(f"needs {', '.join(sorted(needs)) or 'nothing'}, and uses no more")


CHECKS = (
    Check(
        name="values",
        asks="compute returns MetricValues that are finite, or say why there is no value",
        look_at="divisions by 0 and empty means; MetricValue.unavailable(spec, reason)",
        run=check_values,
    ),
    Check(
        name="names",
        asks="one value has the name, unit and direction of the spec",
        look_at="name, unit and direction of the MetricSpec and of the first MetricValue",
        run=check_names,
        needs=("values",),
    ),
    Check(
        name="needs",
        asks="the metric works with what its `needs` names",
        look_at="`needs` of the MetricSpec: likelihood, samples, inverse",
        run=check_needs,
        needs=("values",),
    ),
)
