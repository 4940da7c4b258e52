"""The contract of a dataset."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from flowbench.api.data import DataSplits
from flowbench.api.specs import DatasetSpec
from flowbench.contract.checking.checks import (
    LIMIT_S,
    PLUGIN_ERRORS,
    Check,
    describe_exception,
    run_checks,
)
from flowbench.contract.checking.report import CheckReport, CheckResult, Status
from flowbench.contract.datasets import CHECKS, OF_SPEC, OF_STORE
from flowbench.contract.datasets.subject import DatasetSubject
from flowbench.data.library.prepared import open_prepared, prepared_spec
from flowbench.data.library.splits import not_readable_yet
from flowbench.errors import DataMissingError
from flowbench.registry import Entry, Registry
from flowbench.registry.time_limit import time_limit


def check_dataset(
    registry: Registry, name: str, data_dir: Path, *, limit_s: float = LIMIT_S
) -> CheckReport:
    """Holds a dataset to the contract.

    Args:
        data_dir: Where prepared datasets are; data that are not there are skipped, not failed.
        limit_s: Seconds after which a check is interrupted and has failed.

    Returns:
        The report.
    """
    entry = registry.dataset(name)
    spec = entry.spec
    case = f"{'x'.join(map(str, spec.event_shape))} {spec.modality}"
    subject = DatasetSubject(spec=spec, loader=partial(_load, entry), data_dir=data_dir)
    checks: tuple[Check[DatasetSubject], ...] = OF_SPEC
    problem = None
    try:
        with time_limit(limit_s):
            subject = _opened(subject, entry)
        # A store was held to the rest when it was prepared; `flowbench data verify` does it again.
        checks = CHECKS if spec.convert is None else OF_STORE
    except DataMissingError as exc:
        problem = _load_result("skipped", case, str(exc))
    except PLUGIN_ERRORS as exc:
        problem = _load_result("failed", case, describe_exception(exc))
    results = run_checks(checks, subject, case, limit_s=limit_s)
    return CheckReport(
        kind="dataset",
        name=name,
        plugin=entry.source.distribution,
        results=(*results, *([] if problem is None else [problem])),
    )


def _opened(subject: DatasetSubject, entry: Entry[DatasetSpec]) -> DatasetSubject:
    """The subject with its data read, or with the store that was prepared of them.

    Raises:
        DataMissingError: There are none on this machine.
    """
    spec = entry.spec
    if spec.convert is not None:
        manifest, _ = open_prepared(spec, subject.data_dir)
        subject = replace(
            subject,
            spec=prepared_spec(spec, manifest),
            loader=lambda data_dir: open_prepared(spec, data_dir)[1],
        )
    elif spec.load is None:
        raise DataMissingError(str(not_readable_yet(spec)))
    _ = subject.splits
    return subject


def _load_result(status: Status, case: str, detail: str) -> CheckResult:
    return CheckResult(
        name="load",
        case=case,
        status=status,
        asks="load(data_dir) returns the splits",
        detail=detail,
        look_at="the loader; for data that are not on this machine it raises DataMissingError",
    )


def _load(entry: Entry[DatasetSpec], data_dir: Path) -> DataSplits:
    splits: DataSplits = entry.resolve(str(entry.spec.load))(data_dir)
    return splits
