"""Counts, shapes, types and ranges of what a loader returns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flowbench.api.data import DataSplits, Ragged, Split
from flowbench.contract.checking.checks import Finding, check, failed, passed, within
from flowbench.contract.datasets.subject import DatasetSubject
from flowbench.data.library.validity import check_split
from flowbench.errors import DataError

SPREAD_RATIO = 3.0  # splits of one source do not differ more than that in their spread
LOOKED_AT = 20_000  # examples of a split that statistics are taken of


@check(
    "the loader, and num_train, num_test, levels and context of the spec",
    needs=("facts",),
)
def form(subject: DatasetSubject) -> Finding:
    """Counts, shapes, dtypes, ranges and context of every split are those of the spec."""
    if not isinstance(subject.splits, DataSplits):
        return failed(f"load returned {type(subject.splits).__name__}; expected DataSplits")
    spec = subject.spec
    if (spec.num_validation is None) != (subject.splits.validation is None):
        return failed("num_validation of the spec and the loader's validation split disagree")
    for name, split in subject.splits.named().items():
        try:
            check_split(spec, name, split)
        except DataError as exc:
            return failed(str(exc))
    found = ", ".join(f"{len(split):,} {name}" for name, split in subject.splits.named().items())
    return passed(f"{found}; {subject.splits.train.x.dtype}")


@check(
    "scaling that is applied to one split only; flowbench wants raw values, the "
    "preprocessing belongs to the model",
    needs=("form",),
)
def spread(subject: DatasetSubject) -> Finding:
    """No split is constant, and all have about the same spread."""
    spreads = {name: _spread(split) for name, split in subject.splits.named().items()}
    constant = [name for name, spread in spreads.items() if not spread > 0]
    if constant:
        return failed(f"all values of {constant[0]} are equal")
    train = spreads["train"]
    factor = max(math.exp(abs(math.log(spread / train))) for spread in spreads.values())
    return within(factor, SPREAD_RATIO, "largest ratio of two splits' standard deviations")


def _spread(split: Split[Any]) -> float:
    x = split.x
    if isinstance(x, Ragged):
        x = x.take(np.arange(min(len(x), LOOKED_AT))).values
    return float(np.asarray(x[:LOOKED_AT], dtype=np.float64).std())
