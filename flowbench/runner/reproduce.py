"""The same job once more, in a fresh attempt, and how far both agree."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flowbench.budget import Budget
from flowbench.errors import DataError, UnknownNameError
from flowbench.registry import Registry
from flowbench.registry.build import load_dataset
from flowbench.registry.code import job_code
from flowbench.runner.attempt import TrialOrder
from flowbench.runner.decide import Decision
from flowbench.runner.plan import Job, with_own_id
from flowbench.store.attempt_files import AttemptContents
from flowbench.store.records import RUNG, AttemptRow, JobRow, MeasurementRow

MACHINE_UNITS = frozenset({"s", "ms", "h", "bytes", "samples", "1/s", "samples/s"})
"""Units of what is measured of the machine: no two attempts have the same."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far two attempts at one job agree.

    Attributes:
        apart: The largest difference of a value, as a part of its size; None where no value is
            there twice.
        per_example: The largest difference of one test example's log-likelihood, in nats; None
            where they are not kept.
        values: What was measured both times, without times and sizes of the machine.
        machine: The others: times, rates, memory.
        missing: Names of values that one of both has alone, or that failed in one.
        differs: What differed in code and machine, one line each.
    """

    apart: float | None
    per_example: float | None
    values: tuple[tuple[MeasurementRow, MeasurementRow], ...]
    machine: tuple[tuple[MeasurementRow, MeasurementRow], ...]
    missing: tuple[str, ...]
    differs: tuple[str, ...]

    @property
    def within(self) -> float | None:
        """The smallest power of ten that is no less than `apart`; 0 where all values are equal."""
        return 10.0 ** math.ceil(math.log10(self.apart)) if self.apart else self.apart


def job_again(
    record: AttemptRow,
    registry: Registry,
    data_dir: Path,
    *,
    budget: str | None = None,
    only: Collection[str] | None = None,
) -> tuple[Job, Decision]:
    """The job of a record as a plan has it, to be run from the start.

    Args:
        budget: Another budget than it had.
        only: Measure these metrics alone, off any ladder; by default all that were measured.

    Raises:
        DataError: Its dataset is not what it was.
    """
    row = record.job if budget is None else _under(record.job, budget)
    data = load_dataset(registry, row.dataset, data_dir)
    if data.sha256 != row.dataset_sha256:
        raise DataError(
            f"dataset {row.dataset!r} is not what {record.attempt_id} was made with (its content "
            "hash is another); the job cannot be reproduced here"
        )
    registry.model(row.model)
    measured = {m.metric: None for m in record.measurements if only is None or m.metric in only}
    metrics = tuple(name for name in measured if _is_known(registry, name))
    job = Job(
        row=row,
        info=data.info,
        metrics=metrics,
        ladder=frozenset(
            m.metric for m in record.measurements if RUNG in m.protocol and only is None
        ),
        code=job_code(registry, row.model, row.dataset, metrics),
        unsupported=None,
        trial=None if record.trial is None else TrialOrder.of(record.trial),
        tuning=record.tuning,
    )
    return job, Decision(action="run", why=f"reproduces {record.attempt_id}")


def _under(row: JobRow, budget: str) -> JobRow:
    """A job under another budget, which is another job."""
    return with_own_id(row.model_copy(update={"budget": str(Budget.parse(budget))}))


def _is_known(registry: Registry, metric: str) -> bool:
    try:
        registry.metric(metric)
    except UnknownNameError:  # `samples`, which the harness itself keeps; or its plugin is gone
        return False
    return True


def agreement(before: AttemptContents, after: AttemptContents) -> Agreement:
    """Compares two attempts at one job."""
    old, new = before.record.values_by_name(), after.record.values_by_name()
    both = [(old[name], new[name]) for name in old if name in new]
    there = [pair for pair in both if all(m.value is not None for m in pair)]
    values = tuple(pair for pair in there if not _of_machine(pair[0]))
    lost = [a.name for a, b in both if (a.value is None) != (b.value is None)]
    return Agreement(
        apart=max((difference(a.value or 0.0, b.value or 0.0) for a, b in values), default=None),
        per_example=_per_example(before.log_prob, after.log_prob),
        values=values,
        machine=tuple(pair for pair in there if _of_machine(pair[0])),
        missing=tuple(sorted({*lost, *(old.keys() ^ new.keys())})),
        differs=tuple(_differences(before.record, after.record)),
    )


def difference(before: float, after: float) -> float:
    """The difference of two values as a part of the larger."""
    size = max(abs(before), abs(after))
    return abs(after - before) / size if size else 0.0


def _of_machine(value: MeasurementRow) -> bool:
    return value.unit in MACHINE_UNITS


def _per_example(before: Any, after: Any) -> float | None:
    if before is None or after is None or before.shape != after.shape:
        return None
    return float(np.abs(after - before).max())


def _differences(before: AttemptRow, after: AttemptRow) -> Iterator[str]:
    """What differed in code and machine, one line each."""
    for part, old, new in (
        ("the core", before.core_code, after.core_code),
        ("the model", before.model_code, after.model_code),
        ("the dataset", before.dataset_code, after.dataset_code),
    ):
        if old is None:
            yield f"code of {part}: not recorded then"
        elif old != new:
            yield f"code of {part} has changed"
    values = after.values_by_name()
    edited = [
        name
        for name, m in before.values_by_name().items()
        if name in values and values[name].code != m.code
    ]
    if edited:
        yield f"code of metrics has changed: {', '.join(edited)}"
    for name, old, new in _facts(before, after):
        if old != new:
            yield f"{name}: {_said(old)}, now {_said(new)}"


def _facts(before: AttemptRow, after: AttemptRow) -> Iterator[tuple[str, Any, Any]]:
    yield "device", before.device_name, after.device_name
    yield "devices", before.num_devices, after.num_devices
    yield "threads", before.num_threads, after.num_threads
    old, new = before.provenance, after.provenance
    for group in ("versions", "plugins"):
        had, has = _mapping(old.get(group)), _mapping(new.get(group))
        for name in sorted(had.keys() | has.keys()):
            yield name, had.get(name), has.get(name)
    yield "commit", _mapping(old.get("git")).get("commit"), _mapping(new.get("git")).get("commit")
    for name in ("driver", "platform", "processor"):
        yield name, old.get(name), new.get(name)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _said(value: Any) -> str:
    return "none" if value is None else str(value)
