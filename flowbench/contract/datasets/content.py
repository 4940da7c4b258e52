"""Splits share nothing, and every load gives the same bytes."""

from __future__ import annotations

import itertools

import numpy as np

from flowbench.contract.checking.checks import Finding, check, failed, passed
from flowbench.contract.datasets.subject import DatasetSubject
from flowbench.data.library.content import content_hash, example_hashes

SHOWN = 16  # digits of a hash


@check(
    "how test examples are chosen; duplicates in the source belong on one side",
    needs=("form",),
)
def disjoint(subject: DatasetSubject) -> Finding:
    """No example is in two splits, by hash of its bytes."""
    hashes = {name: example_hashes(split.x) for name, split in subject.splits.named().items()}
    for first, second in itertools.combinations(hashes, 2):
        shared = np.isin(hashes[second], hashes[first])
        if shared.any():
            return failed(
                f"{shared.sum()} of {len(shared)} {second} examples are also in {first}, "
                f"the first is {second}[{int(np.flatnonzero(shared)[0])}]"
            )
    repeated = len(hashes["train"]) - len(np.unique(hashes["train"]))
    words = f"; {repeated} repeated within train" if repeated else ""
    return passed(f"{' and '.join(hashes)} share no example{words}")


@check(
    "random generators without a fixed seed, order of files in a folder, sets and "
    "threads; sha256 of the spec when the data are pinned",
    needs=("form",),
)
def stable(subject: DatasetSubject) -> Finding:
    """Two loads give the same bytes, and those that the spec pins."""
    first = content_hash(subject.splits)
    again, before = subject.load_again()
    moved = before.put_back()
    second = content_hash(again)
    if first != second:
        return failed(f"two loads differ: {first[:SHOWN]}... and {second[:SHOWN]}...")
    if moved:
        return failed(f"load drew from or seeded {' and '.join(moved)}, which is global")
    pinned = subject.spec.sha256
    if pinned is not None and pinned != first:
        return failed(f"content hash {first}; the spec pins {pinned}")
    return passed(
        f"sha256 {first[:SHOWN]}..., {'not ' if pinned is None else ''}pinned by the spec"
    )
