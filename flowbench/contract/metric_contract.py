"""The contract of a metric: which data it is tried on, and the checks on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flowbench.api.specs import ClosedForm, MetricSpec, Target
from flowbench.contract.checking.cases import CASES, Case
from flowbench.contract.checking.checks import LIMIT_S, run_checks
from flowbench.contract.checking.report import CheckReport, CheckResult
from flowbench.contract.metrics import CHECKS, ON_EVERY_CASE
from flowbench.contract.metrics.subject import MetricSubject
from flowbench.registry import Registry


def check_metric(
    registry: Registry,
    name: str,
    *,
    closed_forms: Sequence[ClosedForm] = (),
    limit_s: float = LIMIT_S,
) -> CheckReport:
    """Holds a metric to the contract, measured on a Gaussian fitted to random data.

    Args:
        closed_forms: Cases whose value is known, besides those that its spec declares.
        limit_s: Seconds after which a check is interrupted and has failed.

    Returns:
        The report.
    """
    entry = registry.metric(name)
    cases = _cases(entry.spec)
    results = []
    for case in cases:
        subject = MetricSubject(entry=entry, case=case, closed_forms=closed_forms)
        # Values by hand are those of one form of data.
        checks = CHECKS if case is cases[0] else ON_EVERY_CASE
        results += run_checks(checks, subject, case.label, limit_s=limit_s)
    if not cases:
        nowhere = CheckResult(
            name="cases",
            case="none",
            status="skipped",
            asks="there are data that the metric is defined for",
            detail=f"no {entry.spec.data} case for {', '.join(sorted(entry.spec.modalities))}",
            look_at="modalities and data",
        )
        results = [nowhere]
    return CheckReport(
        kind="metric", name=name, plugin=entry.source.distribution, results=tuple(results)
    )


def _cases(spec: MetricSpec) -> list[Case]:
    """Of each modality that the metric is defined for the first main case that it can measure."""
    fitting: dict[str, Case] = {}
    for modality in ("vector", "image", "audio", "sequence"):
        for case, *_ in CASES[modality] if modality in spec.modalities else ():
            kind = "continuous" if case.info.levels is None else "discrete"
            if "main" in case.roles and spec.data in (None, kind):
                fitting.setdefault(modality, case)
    cases = fitting.values()
    return [_as_target(case) for case in cases] if "target" in spec.needs else list(cases)


def _as_target(case: Case) -> Case:
    """The case with a normalised Gaussian to fit to, in the place of examples."""
    target = Target(log_density="", log_normaliser=0.0)  # the stage has it at hand
    return replace(case, info=replace(case.info, target=target))
