"""The same job again: how far its numbers agree, and what differed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowbench.errors import DataError
from flowbench.registry import Registry
from flowbench.runner.reproduce import agreement, job_again
from flowbench.store.attempt_files import AttemptContents
from flowbench.store.records import MeasurementRow
from tests.store import attempts as make


def contents(*values: MeasurementRow, log_prob: Any = None, **fields: Any) -> AttemptContents:
    record = make.attempt(make.job("fake-gaussian"), measurements=values, **fields)
    return AttemptContents(record=record, log_prob=log_prob)


def bpd(value: float | None, **fields: Any) -> MeasurementRow:
    return make.measured("bpd", value, "bits/dim", **fields)


@pytest.mark.parametrize(
    ("was", "now", "within"),
    [
        (2.0, 2.0, 0.0),
        (2.0, 2.0 + 3e-7, 1e-6),
        (-1.0, -1.05, 0.1),
        (0.0, 0.0, 0.0),
        (0.0, 1.0, 1.0),
    ],
)
def test_values_agree_within_a_power_of_ten(was: float, now: float, within: float) -> None:
    found = agreement(contents(bpd(was)), contents(bpd(now)))
    assert found.within == pytest.approx(within)
    assert found.apart is not None
    assert within / 10 <= found.apart <= within


def test_times_and_memory_are_of_the_machine() -> None:
    latency = [make.measured("sampling_latency", value, "ms") for value in (1.0, 9.0)]
    found = agreement(contents(bpd(2.0), latency[0]), contents(bpd(2.0), latency[1]))
    assert found.within == 0.0
    assert [old.name for old, _ in found.machine] == ["sampling_latency"]


def test_log_likelihoods_are_compared_example_by_example() -> None:
    first, second = np.array([-1.0, -2.0]), np.array([-1.0, -2.25])
    found = agreement(contents(log_prob=first), contents(log_prob=second))
    assert found.per_example == 0.25
    assert found.within is None
    assert agreement(contents(log_prob=first), contents()).per_example is None


def test_what_one_attempt_has_alone_is_named() -> None:
    failed: dict[str, Any] = {"status": "failed", "reason": "broke"}
    found = agreement(
        contents(bpd(2.0), make.measured("fid", 3.0, "")),
        contents(bpd(None, **failed), make.measured("mmd", 3.0, "")),
    )
    assert found.missing == ("bpd", "fid", "mmd")


def test_what_differs_in_code_and_machine_is_told() -> None:
    before = contents(
        bpd(2.0, code="a"), core_code="c", model_code="m", dataset_code="d", device_name="Xeon"
    )
    after = contents(
        bpd(2.0, code="b"),
        core_code="c",
        model_code="n",
        dataset_code="d",
        device_name="Epyc",
        provenance={"versions": {"flowbench": "0.1.0", "torch": "2.11.0"}},
    )
    assert agreement(before, after).differs == (
        "code of the model has changed",
        "code of metrics has changed: bpd",
        "device: Xeon, now Epyc",
        "torch: 2.10.0, now 2.11.0",
    )
    assert agreement(before, before).differs == ()


def test_a_job_on_other_data_cannot_be_reproduced(fake_registry: Registry) -> None:
    row = make.job("fake-gaussian", dataset="fake-images", dataset_sha256="0" * 64)
    with pytest.raises(DataError, match=r"is not what .* was made with"):
        job_again(make.attempt(row), fake_registry, Path())
