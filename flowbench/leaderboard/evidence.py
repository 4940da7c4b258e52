"""From records to what ranking needs: which runs make a row, and what its values are like."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flowbench.api.units import bits_per_dim
from flowbench.leaderboard import words
from flowbench.leaderboard.ranking import Entry, Like, Run
from flowbench.store.attempt_files import AttemptContents
from flowbench.store.checks import CheckRow
from flowbench.store.records import AttemptRow, MeasurementRow

# Parts of a protocol that two values need not share: a bound may only understate its model, so
# exact values and bounds are ranked together, with their signs; raw or averaged weights are each
# model's own choice on validation.
_MAY_DIFFER = frozenset({"noise", "bound", "tolerance", "dequantization", "draws", "weights"})
CheckedCode = Literal["same", "other", "unsure"]
_SAME = 1e-6  # relative; a mean over examples may be summed in another order


@dataclass(frozen=True, kw_only=True)
class Source:
    """What boards are made from.

    Attributes:
        records: The attempt that stands for each job.
        log_prob: Per-example test log-likelihoods in nats, by attempt id.
        contents: Attempts in full by id, where the board shows details.
        checks: The last outcome of each model's contract check, by model or ``model:preset``.
        newest_code: Hash of the code that last ran each model on each data set.
    """

    records: Sequence[AttemptRow] = ()
    log_prob: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    contents: Mapping[str, AttemptContents] = field(default_factory=dict)
    checks: Mapping[str, CheckRow] = field(default_factory=dict)
    newest_code: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @cached_property
    def by_model(self) -> Mapping[tuple[str, str], Sequence[AttemptRow]]:
        """The records by data set and model."""
        found: dict[tuple[str, str], list[AttemptRow]] = defaultdict(list)
        for record in self.records:
            found[record.job.dataset, record.job.model].append(record)
        return found

    def check_of(self, method: Method) -> CheckRow | None:
        """The contract check of a row's model.

        Args:
            method: The row's runs.

        Returns:
            The outcome for its preset, else for the model; None if it was never checked.
        """
        return self.checks.get(method.name) or self.checks.get(method.first.job.model)

    def checked_code(self, method: Method) -> CheckedCode:
        """Whether the last contract check of a row's model was of the code that ran.

        Args:
            method: The row's runs.

        Returns:
            ``unsure`` where a run does not say what code it was, or the runs differ in it.
        """
        check = self.check_of(method)
        ended_well = [r for r in method.records if r.status == "ok"]
        ran = {r.model_code_sha256 for r in ended_well or method.records}
        if check is None or None in ran:
            return "unsure"
        if check.code_sha256 not in ran:
            return "other"
        return "same" if len(ran) == 1 else "unsure"

    def fails_contract(self, method: Method) -> bool:
        """Whether a row's model failed its last contract check, and not in other code."""
        check = self.check_of(method)
        failed = check is not None and check.status == "failed"
        return failed and self.checked_code(method) != "other"

    def badges(self, method: Method) -> tuple[str, ...]:
        """Short warnings about a row.

        Args:
            method: The row's runs.

        Returns:
            At most two: on the contract, and on the code that ran.
        """
        codes = {r.code_sha256 for r in method.records if r.status == "ok"}
        newest = self.newest_code.get((method.first.job.model, method.first.job.dataset))
        said = ["contract ×"] if self.fails_contract(method) else []
        if newest is not None and codes and newest not in codes:
            said.append("stale")
        elif len(codes) > 1:
            said.append("mixed code")
        return tuple(said)


def newest_code(records: Sequence[AttemptRow]) -> dict[tuple[str, str], str]:
    """The code that last ran each model on each data set, whose code is part of what ran.

    Args:
        records: Attempts.

    Returns:
        Hashes by model and data set.
    """
    ran = sorted((r for r in records if r.status == "ok"), key=lambda r: (r.started, r.attempt_id))
    return {(r.job.model, r.job.dataset): r.code_sha256 for r in ran if r.code_sha256 is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class Method:
    """The runs that make one row: alike in all but the seed.

    Attributes:
        key: What they share, as text.
        records: The attempt that stands for each job, by seed.
        log_prob: Per-example test log-likelihoods in nats, by attempt id, where they are needed.
    """

    key: str
    records: tuple[AttemptRow, ...]
    log_prob: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def first(self) -> AttemptRow:
        """The run that speaks for all in what they share: the first that ended well."""
        return next((r for r in self.records if r.status == "ok"), self.records[0])

    @property
    def name(self) -> str:
        """Model and preset, as the command line takes them."""
        return f"{self.first.job.model}:{self.first.job.preset}"

    @property
    def is_single(self) -> bool:
        """Whether a single run ended well; only then are test examples compared one by one."""
        return sum(record.status == "ok" for record in self.records) == 1

    def runs(self, name: str) -> list[tuple[Like, Run]]:
        """Each run's part in a column, with what it can be ranked with.

        Args:
            name: Name of the value.

        Returns:
            Pairs for the runs that failed, and for those where the value was measured or tried.
        """
        pairs = []
        for record in self.records:
            measured = measured_value(record, name)
            if record.status != "ok":
                pairs.append((like(record, measured), Run(value=None, status=record.status)))
            elif measured is not None:
                examples = per_example(record, measured, self.log_prob.get(record.attempt_id))
                run = Run(value=measured.value, status=measured.status, examples=examples)
                pairs.append((like(record, measured), run))
        return pairs

    def entry(self, row: str, name: str) -> Entry:
        """The row's part in a column.

        Args:
            row: The row's key.
            name: Name of the value.

        Returns:
            Its entry; of runs that are not alike, the largest group of like ones stands for it.
        """
        pairs = self.runs(name)
        counts = Counter(like for like, run in pairs if run.value is not None)
        chosen = min(counts, key=lambda like: (-counts[like], like.facts), default=Like())
        runs = tuple(
            run
            if run.value is None or like == chosen
            else Run(value=None, status="measured otherwise")
            for like, run in pairs
        )
        return Entry(row=row, like=chosen, runs=runs)


def methods(
    records: Sequence[AttemptRow], log_prob: Mapping[str, NDArray[np.float64]]
) -> list[Method]:
    """Gathers runs into rows.

    Args:
        records: The attempt that stands for each job.
        log_prob: Per-example test log-likelihoods, by attempt id.

    Returns:
        One method for each row, sorted by key.
    """
    rows: dict[tuple[str, str], list[AttemptRow]] = defaultdict(list)
    for record in records:
        rows[_asked(record), _speed(record)].append(record)
    _settle_homeless(rows)
    return [
        Method(
            key=" ".join(key).strip(),
            records=tuple(sorted(runs, key=lambda r: (r.job.seed, r.attempt_id))),
            log_prob=log_prob,
        )
        for key, runs in sorted(rows.items())
    ]


def _settle_homeless(rows: dict[tuple[str, str], list[AttemptRow]]) -> None:
    """Moves runs that failed before they had a device to the row of their fellows."""
    for asked, speed in sorted(rows):
        homes = sorted(key for key in rows if key[0] == asked and key[1])
        homeless = [r for r in rows[asked, speed] if r.device_name is None]
        if speed == "" and homes and len(homeless) == len(rows[asked, speed]):
            rows[homes[0]] += rows.pop((asked, speed))


def _asked(record: AttemptRow) -> str:
    """What was asked for, seed apart."""
    job = record.job
    shared = [job.model, job.config, job.dataset, job.dataset_sha256, job.budget]
    return json.dumps([*shared, job.protocol_version, job.protocol], sort_keys=True)


def _speed(record: AttemptRow) -> str:
    """The hardware, where the budget makes it bear on every number."""
    return hardware(record) or "" if words.is_time_like(record.job.budget) else ""


def hardware(record: AttemptRow) -> str | None:
    """What a run ran on.

    Args:
        record: The run.

    Returns:
        Its hardware in words; None if it never got that far.
    """
    return words.hardware(
        record.device_name, record.device_kind, record.num_devices, record.num_threads
    )


def values(record: AttemptRow) -> dict[str, MeasurementRow]:
    """All values of a run by name, with those that every record has without a metric.

    Args:
        record: The run.

    Returns:
        The values; of two splits that on test.
    """
    counted = {"steps": record.steps if record.status == "ok" else None}
    counted["params"] = record.num_parameters
    own = {
        name: MeasurementRow(metric=name, name=name, value=count, unit="", direction="none")
        for name, count in counted.items()
        if count is not None
    }
    measured = record.values_by_name()
    return measured | {name: m for name, m in own.items() if name not in measured}


def measured_value(record: AttemptRow, name: str) -> MeasurementRow | None:
    """A value of a run, measured or recorded.

    Args:
        record: The run.
        name: Name of a measured value, of a count that every record has, or ``num_devices``
            (of GPUs) or ``train_hours``.

    Returns:
        The value; None if the run has none of that name.
    """
    if name not in ("num_devices", "train_hours"):
        return values(record).get(name)
    counts = {"num_devices": float(record.num_devices), "train_hours": record.charged_s / 3600.0}
    unavailable = name == "num_devices" and record.device_kind == "cpu"
    return MeasurementRow(
        metric=name,
        name=name,
        value=None if unavailable or not record.charged_s else counts[name],
        unit="h" if name == "train_hours" else "",
        direction="none",
        status="unavailable" if unavailable or not record.charged_s else "ok",
        reason="trained on CPU" if unavailable else None,
    )


def like(record: AttemptRow, measured: MeasurementRow | None) -> Like:
    """Everything that a value must share with another to be ranked with it.

    Args:
        record: The run.
        measured: The value; None for a run that failed.

    Returns:
        The facts.
    """
    job = record.job
    facts: dict[str, Any] = {
        "data": f"{job.dataset} ({job.dataset_sha256[:8]})",
        "budget": words.budget(job.budget),
        "evaluation": f"v{job.protocol_version} {json.dumps(job.protocol, sort_keys=True)}",
        "hardware": _speed(record) or None,
    }
    if measured is not None:
        facts |= {k: _text(v) for k, v in measured.protocol.items() if k not in _MAY_DIFFER}
        facts |= {"unit": measured.unit, "split": measured.split}
    return Like.of(**facts)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True)


def per_example(
    record: AttemptRow, measured: MeasurementRow, log_prob: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """A value's test examples one by one, in its own unit.

    Args:
        record: The run.
        measured: The value.
        log_prob: Log-likelihood of each test example in nats, shape (N,).

    Returns:
        Values of which the measured one is the mean, shape (N,); None if it is no such mean.
    """
    if log_prob is None or measured.value is None or measured.split != "test":
        return None
    dims = int(np.prod(record.data.get("event_shape", (0,))))
    if measured.unit == "bits/dim" and dims:
        examples = bits_per_dim(log_prob, dims)
    elif measured.unit == "nats":
        examples = -log_prob
    else:
        return None
    mean = float(examples.mean())
    return examples if abs(mean - measured.value) <= _SAME * max(1.0, abs(mean)) else None
