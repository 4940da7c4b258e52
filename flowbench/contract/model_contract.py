"""The contract of a model: which cases it is checked on, and the checks on them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial

from flowbench.api.specs import DatasetSpec, ModelSpec
from flowbench.contract.checking.cases import CASES, Case, Role, case_of, cases_of_forms
from flowbench.contract.checking.checks import (
    LIMIT_S,
    PLUGIN_ERRORS,
    describe_exception,
    not_twice,
    run_checks,
)
from flowbench.contract.checking.forked import CAN_FORK, LostProcessError, in_forks
from flowbench.contract.checking.report import CheckReport, CheckResult, Status
from flowbench.contract.models import CHECKS
from flowbench.contract.models.subject import ModelSubject
from flowbench.data.library.splits import validation_size
from flowbench.registry import Registry
from flowbench.registry.configs import configure
from flowbench.registry.time_limit import time_limit

MAX_DIMS = 4096  # of a registered dataset whose form stands in where the contract's own do not fit


def check_model(
    registry: Registry,
    choice: str,
    *,
    dataset: str | None = None,
    slow: bool = True,
    limit_s: float = LIMIT_S,
    jobs: int = 1,
) -> CheckReport:
    """Holds a model to the contract.

    Args:
        choice: ``name`` or ``name:preset``; by default each case's default preset.
        dataset: Check on random data of this dataset's form rather than on the contract's own.
        slow: Whether to run the checks that train the model as well.
        limit_s: Seconds after which a check is interrupted and has failed.
        jobs: Forms to check at a time, each in a process of its own.

    Returns:
        The report.
    """
    entry = registry.model(choice.partition(":")[0])
    if dataset is None:
        groups = _groups(registry, entry.spec)
    else:
        groups = [[_dataset_case(registry.dataset(dataset).spec, "main", "mass")]]
    on_group = partial(_check_group, registry, choice, slow=slow, limit_s=limit_s)
    results: list[CheckResult] = []
    start, forks = time.perf_counter(), CAN_FORK and min(jobs, len(groups)) > 1
    if forks:
        found = in_forks([partial(on_group, group) for group in groups], jobs)
        for group, on_it in zip(groups, found, strict=True):
            if isinstance(on_it, LostProcessError):
                on_it = [_configuration("failed", group[0].label, str(on_it))]
            results += not_twice(CHECKS, on_it, results)
    else:
        for group in groups:
            results += on_group(group, before=results)
    return CheckReport(
        kind="model",
        name=choice,
        plugin=entry.source.distribution,
        results=tuple(results),
        side_by_side_s=time.perf_counter() - start if forks else None,
    )


def _check_group(
    registry: Registry,
    choice: str,
    group: Sequence[Case],
    *,
    before: Iterable[CheckResult] = (),
    slow: bool,
    limit_s: float,
) -> list[CheckResult]:
    """Checks a model on the first case of a group that it can run on."""
    reasons: list[str] = []
    for case in group:
        try:
            with time_limit(limit_s):
                configured = configure(registry, choice, case.info, {})
                reason = configured.unsupported(case.info)
        except PLUGIN_ERRORS as exc:
            return [_configuration("failed", case.label, describe_exception(exc))]
        if reason is None:
            subject = ModelSubject(registry=registry, configured=configured, case=case)
            checks = [c for c in CHECKS if case.roles & c.cases and (slow or not c.slow)]
            # What failed on another case has its cause there: nothing is said twice.
            return run_checks(checks, subject, case.label, before, limit_s=limit_s)
        reasons.append(reason)
    return [_configuration("skipped", group[0].label, reasons[0])]


def _configuration(status: Status, case: str, detail: str) -> CheckResult:
    return CheckResult(
        name="configuration",
        case=case,
        status=status,
        detail=detail,
        asks="the model can be configured for a small case",
        look_at="default_preset, presets and unsupported of the config class",
    )


def _groups(registry: Registry, spec: ModelSpec) -> list[list[Case]]:
    if spec.forms:
        return cases_of_forms(spec.forms)
    groups: list[list[Case]] = []
    for modality in sorted(spec.modalities):
        for group in CASES[modality]:
            cases = list(group)
            # Only for the thorough checks: probability cannot be summed over a registered dataset's
            # form.
            if "main" in group[0].roles:
                cases += _registered_forms(registry, modality)
            groups.append(cases)
    return groups


def _registered_forms(registry: Registry, modality: str) -> list[Case]:
    """Forms of registered datasets, smallest first, for models that need a special one."""
    specs = [e.spec for e in registry.datasets.values() if e.spec.modality == modality]
    cases = [_dataset_case(spec, "main") for spec in specs]
    # A model for one dataset alone is checked on that, but not on a megapixel.
    small = [case for case in cases if case.info.num_dims <= MAX_DIMS]
    return sorted(small, key=lambda case: case.info.num_dims)


def _dataset_case(spec: DatasetSpec, *roles: Role) -> Case:
    return case_of(spec.info(validation_size(spec)), *roles)
