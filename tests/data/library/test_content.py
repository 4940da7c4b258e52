from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowbench.api import DataSplits, Split
from flowbench.data.library import content
from flowbench.data.library.content import content_hash, example_hashes


def splits(**changes: Split) -> DataSplits:
    parts: dict[str, Any] = {
        "train": Split(
            x=np.arange(24, dtype=np.uint8).reshape(4, 6),
            context={"label": np.arange(4), "mel": np.zeros((4, 2), np.float32)},
        ),
        "test": Split(x=np.arange(12, dtype=np.uint8).reshape(2, 6) + 100),
    }
    return DataSplits(**(parts | changes))


def test_the_serialisation_is_what_the_docstring_says() -> None:
    x = np.array([[1, 2]], dtype=np.uint8)
    y = np.array([[3, 4]], dtype=np.int64)
    label = np.array([7], dtype=np.int64)
    expected = hashlib.sha256(
        b"flowbench-content-1"
        b'\n["train", "x", "|u1", [1, 2]]\n\x01\x02'
        b'\n["train", "label", "<i8", [1]]\n' + label.astype("<i8").tobytes() + b'\n["test", "x", '
        b'"<i8", [1, 2]]\n' + y.astype("<i8").tobytes()
    ).hexdigest()
    data = DataSplits(train=Split(x=x, context={"label": label}), test=Split(x=y))
    assert content_hash(data) == expected


def test_the_hash_ignores_how_values_lie_in_memory(tmp_path: Path) -> None:
    plain = splits()
    np.save(tmp_path / "x.npy", plain.train.x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    fortran = np.asfortranarray(plain.train.x)
    swapped_label = plain.train.context["label"].astype(">i8")
    context = dict(reversed(list(plain.train.context.items())))
    for x in (mapped, fortran):
        assert content_hash(splits(train=Split(x=x, context=context))) == content_hash(plain)
    swapped = Split(x=mapped, context={**context, "label": swapped_label})
    assert content_hash(splits(train=swapped)) == content_hash(plain)


def test_the_hash_does_not_depend_on_the_chunk_size(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = content_hash(splits()), example_hashes(splits().train.x).tolist()
    monkeypatch.setattr(content, "CHUNK_BYTES", 7)
    assert (content_hash(splits()), example_hashes(splits().train.x).tolist()) == expected


def test_every_part_counts() -> None:
    train = splits().train
    other_x = train.x.copy()
    other_x[3, 5] += 1
    variants = [
        splits(),
        splits(train=Split(x=other_x, context=train.context)),
        splits(train=Split(x=train.x.astype(np.int32), context=train.context)),
        splits(train=Split(x=train.x.reshape(4, 3, 2), context=train.context)),
        splits(train=Split(x=train.x, context={**train.context, "label": np.arange(4) + 1})),
        splits(train=Split(x=train.x)),
        splits(validation=splits().test),
        DataSplits(train=splits().test, test=splits().train),
    ]
    assert len({content_hash(variant) for variant in variants}) == len(variants)


def test_example_hashes_tell_examples_apart_and_find_equal_ones() -> None:
    x = np.random.default_rng(0).integers(0, 2, (4000, 3, 4), dtype=np.uint8)
    _, expected = np.unique(x.reshape(4000, -1), axis=0, return_inverse=True)
    _, found = np.unique(example_hashes(x), return_inverse=True)
    pairs = set(zip(expected.ravel().tolist(), found.tolist(), strict=True))
    assert len(pairs) == len(set(expected.ravel().tolist())) == len(set(found.tolist()))
