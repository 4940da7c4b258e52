"""The contract of a dataset."""

from __future__ import annotations

from pathlib import Path

from flowbench.api.data import DataSplits
from flowbench.contract.checks import describe_exception, run_checks, standalone
from flowbench.contract.datasets import CHECKS
from flowbench.contract.datasets.facts import CHECKS as FACTS
from flowbench.contract.datasets.subject import DatasetSubject
from flowbench.contract.report import CheckReport, CheckResult, Status
from flowbench.data.splits import not_readable_yet
from flowbench.errors import DataError
from flowbench.registry import Registry


def check_dataset(registry: Registry, name: str, data_dir: Path) -> CheckReport:
    """Holds a dataset to the contract.

    Args:
        registry: The loaded plugins.
        name: The dataset.
        data_dir: Where prepared datasets are; data that are not there are skipped, not failed.

    Returns:
        The report.
    """
    entry = registry.dataset(name)
    spec = entry.spec
    case = f"{'x'.join(map(str, spec.event_shape))} {spec.modality}"
    loader = _load_nothing if spec.load is None else entry.resolve(spec.load)
    subject = DatasetSubject(spec=spec, loader=loader, data_dir=data_dir)
    problem = _unloadable(subject, case)
    results = run_checks(CHECKS if problem is None else FACTS, subject, case)
    if problem is not None:
        results.append(problem)
    return CheckReport(
        kind="dataset", name=name, plugin=entry.source.distribution, results=tuple(results)
    )


def _unloadable(subject: DatasetSubject, case: str) -> CheckResult | None:
    if subject.spec.load is None:
        return _load_result("skipped", case, str(not_readable_yet(subject.spec)))
    try:
        _ = subject.splits
    except DataError as exc:  # the loader's own word for data that are not on this machine
        return _load_result("skipped", case, str(exc))
    except Exception as exc:  # a border: the plugin's loader runs here
        return _load_result("failed", case, describe_exception(exc))
    return None


def _load_result(status: Status, case: str, detail: str) -> CheckResult:
    asks = "load(data_dir) returns the splits"
    look_at = "the loader; data that are missing are a DataError that says how to get them"
    return standalone("load", status, case, detail, asks=asks, look_at=look_at)


def _load_nothing(data_dir: Path) -> DataSplits:
    """Stands for the loader of a dataset that has none yet.

    Raises:
        DataError: Always.
    """
    raise DataError(f"nothing can be read from {data_dir} yet")
