"""Values that can be worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flowbench.api.data import DataSplits, Split
from flowbench.api.metrics import LikelihoodResult
from flowbench.api.specs import ClosedForm
from flowbench.contract.checking.checks import Finding, check, failed, skipped, within
from flowbench.contract.metrics.stage import show
from flowbench.contract.metrics.subject import MetricSubject

_NEEDED = {"log_prob": "likelihood", "samples": "samples"}  # what a case gives: the need for it


@check(
    "the formula, its unit and its constants",
    needs=("names",),
)
def closed_form(subject: MetricSubject) -> Finding:
    """The metric gives values that were worked out by hand."""
    if not subject.known:
        return skipped("`closed_forms` of the spec names none; give one wherever it can be had")
    alien = [case for case in subject.known if not isinstance(case, ClosedForm)]
    if alien:
        return failed(f"`closed_forms` must be a sequence of ClosedForm, it has {alien[0]!r}")
    return max((_compare(subject, case) for case in subject.known), key=_badness)


def _compare(subject: MetricSubject, case: ClosedForm) -> Finding:
    unseen = [
        f"{given}, but {need!r} is not in its `needs`"
        for given, need in _NEEDED.items()
        if getattr(case, given) is not None and need not in subject.spec.needs
    ]
    if unseen:
        return failed(f"a ClosedForm gives the metric {unseen[0]}")
    main = subject.main(subject.measure(**_changes(subject, case)))
    if main is None or main.value is None:
        return failed(f"no value where {case.expected:g} is expected")
    error = abs(main.value - case.expected) / max(abs(case.expected), 1e-12)
    words = f"relative error of {main.value:.6g}, by hand {case.expected:.6g}"
    return within(error, case.tolerance, words)


def _badness(finding: Finding) -> tuple[bool, float]:
    """Orders findings: failures last, and of these the largest error; no number is the worst."""
    figure = math.inf if finding.figure is None else finding.figure
    return finding.status == "failed", math.inf if math.isnan(figure) else figure


def _changes(subject: MetricSubject, case: ClosedForm) -> dict[str, Any]:
    stage, changes = subject.stage, dict[str, Any]()
    if case.log_prob is not None and stage.result is not None:
        values = np.asarray(case.log_prob, dtype=np.float64)
        given = {**vars(stage.result), "log_prob": values, "elbo": values, "draw_stderr": None}
        changes["result"] = LikelihoodResult(**given)
    if case.samples is not None and stage.shown is not None:
        dtype = stage.shown.x.dtype
        changes["shown"] = show(stage.shown, np.asarray(case.samples, dtype=dtype))
    if case.test is not None:
        x = np.asarray(case.test, dtype=stage.splits.test.x.dtype)
        context = {k: v[: len(x)] for k, v in stage.splits.test.context.items()}
        test = Split(x=x, context=context)
        changes["splits"] = DataSplits(
            train=stage.splits.train, validation=stage.splits.validation, test=test
        )
    return changes
