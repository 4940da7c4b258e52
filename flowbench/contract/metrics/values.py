"""What a metric returns: names, units, numbers, and reasons where there is no number."""

from __future__ import annotations

from typing import Any

from flowbench.api.specs import MetricValue
from flowbench.contract.checking.checks import Finding, check, failed, passed
from flowbench.contract.metrics.subject import MetricSubject
from flowbench.errors import ContractError
from flowbench.evaluation.values import checked_values


@check(
    "divisions by 0 and empty means; MetricValue.unavailable(spec, reason)",
)
def values(subject: MetricSubject) -> Finding:
    """A metric returns MetricValues that are finite, or say why there is no value."""
    try:
        returned = checked_values(subject.spec, subject.values)  # the border that a run has, too
    except ContractError as exc:
        return failed(str(exc))
    for value in returned:
        if value.status == "failed" or (value.status != "ok" and not value.reason):
            return failed(f"{value.name}: {value.reason or f'{value.status} without a reason'}")
        if value.stderr is not None and not value.stderr >= 0:
            return failed(f"{value.name}: a standard error of {value.stderr}")
    return passed(", ".join(_words(value) for value in returned))


def _words(value: MetricValue) -> str:
    return f"{value.name} = {value.value:.4g}" if value.value is not None else value.name


@check(
    "name, unit and direction of the MetricSpec and of the first MetricValue",
    needs=("values",),
)
def names(subject: MetricSubject) -> Finding:
    """One value has the name, unit and direction of the spec."""
    spec, values = subject.spec, subject.values
    main = subject.main()
    if main is None:
        given = ", ".join(value.name for value in values)
        return failed(f"no value is named {spec.name!r} (there are {given})")
    if (main.unit, main.direction) != (spec.unit, spec.direction):
        return failed(
            f"{main.name} has unit {main.unit!r} and direction {main.direction!r}; "
            f"the spec says {spec.unit!r} and {spec.direction!r}"
        )
    num = f"{len(values)} value{'s' if len(values) > 1 else ''}"
    return passed(f"unit {spec.unit!r}, {spec.direction} is better, {num}")


@check(
    "`needs` of the MetricSpec: likelihood, samples, inverse",
    needs=("values",),
)
def needs(subject: MetricSubject) -> Finding:
    """The metric works with what its `needs` names."""
    needs = subject.spec.needs
    refused: dict[str, Any] = {}
    if "likelihood" not in needs:
        refused["result"] = None
    if "samples" not in needs:
        refused["shown"] = None
    if refused:
        subject.measure(**refused)
    return passed(f"needs {', '.join(sorted(needs)) or 'nothing'}, and uses no more")
