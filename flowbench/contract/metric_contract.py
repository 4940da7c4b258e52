"""The contract of a metric: which data it is tried on, and the checks on them."""

from __future__ import annotations

from collections.abc import Sequence

from flowbench.api.specs import ClosedForm, MetricSpec
from flowbench.contract.cases import CASES, Case
from flowbench.contract.checks import LIMIT_S, run_checks, standalone
from flowbench.contract.metrics import CHECKS, ON_EVERY_CASE
from flowbench.contract.metrics.subject import MetricSubject
from flowbench.contract.report import CheckReport
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
        detail = f"no {entry.spec.data} case for {', '.join(sorted(entry.spec.modalities))}"
        asks, look_at = "there are data that the metric is defined for", "modalities and data"
        results = [standalone("cases", "skipped", "none", detail, asks=asks, look_at=look_at)]
    return CheckReport(
        kind="metric", name=name, plugin=entry.source.distribution, results=tuple(results)
    )


def _cases(spec: MetricSpec) -> list[Case]:
    """The first case of each modality that the metric is defined for."""
    first = [CASES[modality][0][0] for modality in ("vector", "image", "audio", "sequence")]
    wanted = {"discrete": False, "continuous": True}
    return [
        case
        for case in first
        if case.info.modality in spec.modalities
        and (spec.data is None or (case.info.levels is None) == wanted[spec.data])
    ]
