"""From records to what ranking needs: which runs make a row, and what its values are like."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flowbench.api.protocol import SampleSettings
from flowbench.api.specs import MetricSpec, Role
from flowbench.api.units import bits_per_dim
from flowbench.budget import Budget
from flowbench.leaderboard.board import numbers, words
from flowbench.leaderboard.board.ranking import Contender, Like, Outcome
from flowbench.store.attempt_files import AttemptContents
from flowbench.store.bundles import standing
from flowbench.store.checks import CheckRow
from flowbench.store.records import PARTS, AttemptRow, MeasurementRow, Tuning

# Parts of a protocol that two values need not share: a bound may only understate its model, so
# exact values and bounds are ranked together, with their signs; raw or averaged weights are each
# model's own choice on validation.
_MAY_DIFFER = frozenset({"noise", "bound", "tolerance", "dequantization", "draws", "weights"})
CheckedCode = Literal["same", "other", "unsure"]
_OF_CODE = {"same": "", "other": " (other code)", "unsure": " (perhaps other code)"}
_SAME = 1e-6  # relative; a mean over examples may be summed in another order
_SECONDS_AN_HOUR = 3600.0
SWEEP_HOURS = "sweep_hours"
"""The count of a row that a sweep has chosen: device-hours of all its trials."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What boards are made from.

    Attributes:
        records: The attempt that stands for each job.
        log_prob: Per-example test log-likelihoods in nats, by attempt id.
        contents: Attempts in full by id, where the board shows details.
        checks: The last outcome of each model's contract check, by model or ``model:preset``.
        newest_code: Hash of the code that last ran each model on each data set.
        core_code: Hash of the core that is there now; None for results that are kept as they are.
        metrics: Metrics that are installed, by name, in order: they say how values are shown in
            records made before that was kept with them.
    """

    records: Sequence[AttemptRow] = ()
    log_prob: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    contents: Mapping[str, AttemptContents] = field(default_factory=dict)
    checks: Mapping[str, CheckRow] = field(default_factory=dict)
    newest_code: Mapping[tuple[str, str], str] = field(default_factory=dict)
    core_code: str | None = None
    metrics: Mapping[str, MetricSpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        presented = tuple(_presented(record, self.metrics) for record in self.records)
        # Still construction: from here on no maker has to ask how an older record's value is shown.
        object.__setattr__(self, "records", presented)

    @cached_property
    def by_model(self) -> Mapping[tuple[str, str], Sequence[AttemptRow]]:
        """The records by data set and model."""
        found: dict[tuple[str, str], list[AttemptRow]] = defaultdict(list)
        for record in self.records:
            found[record.job.dataset, record.job.model].append(record)
        return found

    def check_of(self, method: Method) -> CheckRow | None:
        """The contract check of a row's preset, else of its model; None if there was none."""
        # The preset's own check tells more than that of the default preset.
        return self.checks.get(method.name) or self.checks.get(method.first.job.model)

    def contract_of(self, method: Method) -> str:
        """That check in words, with whether it was of the code that ran."""
        check = self.check_of(method)
        return words.contract(check) + ("" if check is None else _OF_CODE[self._checked(method)])

    def _checked(self, method: Method) -> CheckedCode:
        """Which code was checked; ``unsure`` where runs do not say theirs, or differ in it."""
        check = self.check_of(method)
        ran = {r.model_code_sha256 for r in method.ended_well or method.records}
        if check is None or None in ran:
            return "unsure"
        if check.code_sha256 not in ran:
            return "other"
        return "same" if len(ran) == 1 else "unsure"

    def fails_contract(self, method: Method) -> bool:
        """Whether a row's model failed its last contract check, and not in other code."""
        check = self.check_of(method)
        failed = check is not None and check.status == "failed"
        return failed and self._checked(method) != "other"

    def struck(self, method: Method) -> str:
        """Why a row is not to be trusted and has no place, in sentences; nothing if it is."""
        found = [f"its contract {self.contract_of(method)}"] if self.fails_contract(method) else []
        refuted = method.refuted
        return " ".join(f"Struck: {why}." for why in (*found, *([refuted] if refuted else [])))

    def badges(self, method: Method) -> tuple[str, ...]:
        """Short warnings about a row: its contract, its witnesses, what code ran, and on what."""
        codes = {r.code_sha256 for r in method.ended_well}
        newest = self.newest_code.get((method.first.job.model, method.first.job.dataset))
        found = ["contract ×"] if self.fails_contract(method) else []
        found += ["refuted ×"] if method.refuted else []
        cores = {r.core_code for r in method.ended_well}
        # Older than any code that ran it since, or than the core that is here now.
        if codes and (newest not in (None, *codes) or self.core_code not in (None, *cores)):
            found.append("stale")
        elif len(codes) > 1:
            found.append("mixed code")
        if any(record.contended for record in method.ended_well):
            found.append("contended")
        return (*found, *filter(None, [method.standing]))


def _presented(record: AttemptRow, metrics: Mapping[str, MetricSpec]) -> AttemptRow:
    """A record whose every value says how it is shown, in the order of the metrics.

    Records made before that was kept have it from the metric, if that is installed.
    """
    if all(m.role for m in record.measurements):
        return record
    order = {name: place for place, name in enumerate(metrics)}
    shown = [
        m if m.role else m.model_copy(update=spec.presentation(m.name, m.unit))
        for m in sorted(record.measurements, key=lambda m: order.get(m.metric, len(order)))
        for spec in [metrics.get(m.metric) or _guess(m)]
    ]
    return record.model_copy(update={"measurements": tuple(shown)})


def _guess(m: MeasurementRow) -> MetricSpec:
    """What a metric that is not installed may have been, by unit and direction of its value."""
    is_price = m.unit in ("s", "ms", "h", "bytes") or m.unit.endswith("/s")
    role: Role = "count" if m.direction == "none" else "cost" if is_price else "quality"
    facts: dict[str, Any] = {"name": m.metric, "compute": "", "unit": m.unit, "summary": ""}
    return MetricSpec(**facts, direction=m.direction, role=role)


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
    def ended_well(self) -> tuple[AttemptRow, ...]:
        """Those of the runs that did."""
        return tuple(record for record in self.records if record.status == "ok")

    @property
    def first(self) -> AttemptRow:
        """The run that speaks for all in what they share: the first that ended well."""
        return next(iter(self.ended_well), self.records[0])

    @property
    def name(self) -> str:
        """Model and preset, as the command line takes them."""
        return f"{self.first.job.model}:{self.first.job.preset}"

    @property
    def family(self) -> str:
        """The kind of model; empty where no run says it."""
        return next((r.job.family for r in self.records if r.job.family), "")

    @property
    def is_single(self) -> bool:
        """Whether a single run ended well; only then are test examples compared one by one."""
        return len(self.ended_well) == 1

    @property
    def standing(self) -> str:
        """Whose word it is, where it was submitted: see `flowbench.store.bundles.standing`."""
        return standing(self.ended_well or self.records)

    @property
    def refuted(self) -> str:
        """Which witness refutes it, of which seed: one run is enough, as none does so by chance."""
        found = [(r.job.seed, m.refutes) for r in self.records for m in r.measurements if m.refutes]
        if not found:
            return ""
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        return f"{words.lower_first(found[0][1])} (seed {found[0][0]}{more})"

    def contender(self, row: str, name: str) -> Contender:
        """The row's part in a column.

        Args:
            row: The row's key.
            name: Name of the value.

        Returns:
            An outcome for each run that failed, or where the value was measured or tried. Of runs
            that are not alike, the largest group of like ones stands for the row.
        """
        pairs = list(self._outcomes(name))
        # Runs whose evaluation differs have values that cannot be averaged.
        counts = Counter(like for like, one in pairs if one.value is not None)
        chosen = min(counts, key=lambda like: (-counts[like], like.facts), default=Like())
        outcomes = tuple(
            one
            if one.value is None or like == chosen
            else Outcome(value=None, status="measured otherwise")
            for like, one in pairs
        )
        return Contender(row=row, like=chosen, outcomes=outcomes)

    def _outcomes(self, name: str) -> Iterator[tuple[Like, Outcome]]:
        for record in self.records:
            measured, seed = measured_value(record, name), record.job.seed
            if record.status != "ok":
                lost = Outcome(value=None, status=record.status, seed=seed)
                yield like(record, measured), lost
            elif measured is not None:
                examples = per_example(record, measured, self.log_prob.get(record.attempt_id))
                value, status = measured.value, measured.status
                one = Outcome(value=value, status=status, seed=seed, examples=examples)
                yield like(record, measured), one

    def measured(self, name: str) -> MeasurementRow | None:
        """The first value of a name among runs that ended well; None if none has one."""
        found = (measured_value(record, name) for record in self.ended_well)
        return next((m for m in found if m is not None and m.value is not None), None)


def methods(
    records: Sequence[AttemptRow], log_prob: Mapping[str, NDArray[np.float64]]
) -> list[Method]:
    """Gathers runs into rows, sorted by what they share.

    Args:
        records: The attempt that stands for each job.
        log_prob: Per-example test log-likelihoods in nats, by attempt id.
    """
    rows: dict[tuple[str, str], list[AttemptRow]] = defaultdict(list)
    for record in records:
        rows[_asked(record), _speed(record)].append(record)
    # Or a failure before the device was known would be a row of its own.
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


def without_parts(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides but for the parts that batches are taken in: it is the same training."""
    return {key: value for key, value in overrides.items() if key != PARTS}


def _asked(record: AttemptRow) -> str:
    """What was asked for, seed apart."""
    job = record.job
    shared = [job.model, job.config, job.dataset, job.dataset_sha256, job.budget]
    return json.dumps([*shared, job.protocol_version, job.protocol], sort_keys=True)


def _speed(record: AttemptRow) -> str:
    """The hardware, where the budget makes it bear on every number."""
    return hardware(record) or "" if Budget.parse(record.job.budget).time_like else ""


def hardware(record: AttemptRow) -> str | None:
    """What a run ran on, in as much detail as bears on its speed; None if it never got that far."""
    name, devices, threads = record.device_name, record.num_devices, record.num_threads
    machine = f"{devices} × {name}" if name and devices > 1 else name
    if machine is None or record.device_kind != "cpu" or threads is None:
        return machine
    return f"{machine}, {threads}{numbers.NO_BREAK}thread{'' if threads == 1 else 's'}"


def usual_hardware(records: Iterable[AttemptRow]) -> str | None:
    """What most runs ran on; None if none got that far."""
    counts = Counter(name for r in records if (name := hardware(r)))
    return min(counts, key=lambda name: (-counts[name], name), default=None)


def device_hours(records: Sequence[AttemptRow]) -> float | None:
    """Mean device-hours of the runs that ended well; None if none did."""
    hours = [r.charged_s * r.num_devices / _SECONDS_AN_HOUR for r in records if r.status == "ok"]
    return fmean(hours) if hours and max(hours) > 0 else None


def swept(records: Sequence[AttemptRow]) -> Tuning | None:
    """What the sweep took that chose the configuration of runs; None where none did."""
    told = [r.tuning for r in records if r.tuning is not None and r.tuning.sweep is not None]
    # Of a sweep that was gone on with the most that is told.
    return max(told, key=lambda tuning: tuning.trials, default=None)


def sweep_hours(records: Sequence[AttemptRow]) -> float | None:
    """Device-hours of all trials of that sweep; None without one."""
    tuning = swept(records)
    if tuning is None:
        return None
    return tuning.charged_s * max(r.num_devices for r in records) / _SECONDS_AN_HOUR


def whole_hours(records: Sequence[AttemptRow]) -> float | None:
    """Mean device-hours of the runs that ended well, and all of the sweep that chose them."""
    hours = device_hours(records)
    return None if hours is None else hours + (sweep_hours(records) or 0.0)


def values(record: AttemptRow) -> dict[str, MeasurementRow]:
    """All values of a run by name, of two splits that on test; then its own counts."""
    measured = record.values_by_name()
    labels = {m.label for m in measured.values()}  # a metric may have measured the same
    counts = (
        _count(SWEEP_HOURS, "Sweep hours", sweep_hours([record]), "h"),
        _count("num_parameters", "Parameters", record.num_parameters),
        _pace(record),
    )
    own = {m.name: m for m in counts if m.value is not None and m.label not in labels}
    return measured | own


def _pace(record: AttemptRow) -> MeasurementRow:
    """How far training went in its time; of a given number of steps, how fast."""
    steps = record.steps if record.status == "ok" else None
    if steps is None or Budget.parse(record.job.budget).time_like or not record.charged_s:
        return _count("steps", "Steps", steps)
    return _count("steps_per_s", "Steps/s", steps / record.charged_s)


def _count(name: str, label: str, value: float | None, unit: str = "") -> MeasurementRow:
    """A count that every record has, without a metric."""
    shown: dict[str, Any] = {"label": label, "short": label, "role": "count", "scale": "log"}
    shown |= {"status": "unavailable" if value is None else "ok"}
    return MeasurementRow(metric=name, name=name, value=value, unit=unit, direction="none", **shown)


def measured_value(record: AttemptRow, name: str) -> MeasurementRow | None:
    """A value of a run, measured or recorded.

    Args:
        record: The run.
        name: Name of a measured value, of a count that every record has, or ``num_devices``
            (of GPUs) or ``train_hours``.

    Returns:
        The value; None if the run has none of that name.
    """
    if name == "num_devices":
        on_gpus = record.charged_s and record.device_kind != "cpu"
        return _count(name, "GPUs", float(record.num_devices) if on_gpus else None)
    if name == "train_hours":
        return _count(name, "Hours", record.charged_s / _SECONDS_AN_HOUR or None, "h")
    return values(record).get(name)


def like(record: AttemptRow, measured: MeasurementRow | None) -> Like:
    """Everything that a run's value must share with another to be ranked with it.

    Args:
        record: The run.
        measured: The value; None for a run that failed.
    """
    job, protocol = record.job, dict(record.job.protocol)
    sample = protocol.pop("sample", {})
    facts: dict[str, Any] = {
        "data": f"{job.dataset} ({job.dataset_sha256[:8]})",
        "budget": words.budget(job.budget),
        "evaluation": f"v{job.protocol_version} {json.dumps(protocol, sort_keys=True)}",
        "hardware": _speed(record) or None,
    }
    if measured is not None:
        facts |= protocol_facts(measured)
        facts |= {"unit": measured.unit, "split": measured.split}
    # No likelihood depends on how samples are drawn; of other values nobody knows.
    if measured is None or "measure" not in measured.protocol:
        facts["sample"] = sampled(sample) or "as usual"
    return Like.of(**facts)


def protocol_facts(measured: MeasurementRow) -> dict[str, str | None]:
    """What of its protocol a value must share with another to be compared with it."""
    return {k: _text(v) for k, v in measured.protocol.items() if k not in _MAY_DIFFER}


def sampled(settings: Mapping[str, Any]) -> str:
    """How samples were drawn, as ``--sample`` takes it; nothing for what is usual."""
    # As it was kept, and not as settings may be today.
    return str(SampleSettings.model_construct(**settings))


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
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
    if measured.unit in ("bits/dim", "bits/char") and dims:
        examples = bits_per_dim(log_prob, dims)
    elif measured.unit == "nats":
        examples = -log_prob
    else:
        return None
    # Checked and not assumed: a metric of another plugin may have other examples in mind.
    mean = float(examples.mean())
    return examples if abs(mean - measured.value) <= _SAME * max(1.0, abs(mean)) else None
