"""From records to what ranking needs: which runs make a row, and what its values are like."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api.units import bits_per_dim
from flowbench.leaderboard import words
from flowbench.leaderboard.ranking import Like, Run
from flowbench.store.records import AttemptRow, MeasurementRow

# Parts of a likelihood that two values need not share: a bound may only understate its model, so
# exact values and bounds are ranked together, with their signs.
_MAY_DIFFER = frozenset({"estimate", "dequantization", "draws"})
_SAME = 1e-6  # relative; a mean over examples may be summed in another order


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

    def runs(self, name: str) -> list[tuple[Like, Run]]:
        """Each run's part in a column, with what it can be ranked with.

        Args:
            name: Name of the value.

        Returns:
            Pairs for the runs that failed, and for those where the value was measured or tried.
        """
        pairs = []
        for record in self.records:
            measured = values(record).get(name)
            if record.status != "ok":
                pairs.append((like(record, measured), Run(value=None, status=record.status)))
            elif measured is not None:
                examples = per_example(record, measured, self.log_prob.get(record.attempt_id))
                run = Run(value=measured.value, status=measured.status, examples=examples)
                pairs.append((like(record, measured), run))
        return pairs


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
