from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowbench.api import ContextInput, DatasetSpec, DataSplits, Split
from flowbench.data.library.content import content_hash
from flowbench.data.library.splits import load_splits, not_readable_yet, validation_size
from flowbench.errors import DataError

SPEC = DatasetSpec(
    name="fake",
    modality="image",
    event_shape=(1, 2, 4),
    levels=16,
    num_train=200,
    num_test=20,
    context={"label": ContextInput(shape=(), num_classes=3)},
    summary="random images",
)
REAL_SPEC = dataclasses.replace(SPEC, modality="vector", event_shape=(2,), levels=None, context={})


def images(num: int, seed: int) -> Split:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 16, (num, 1, 2, 4)).astype(np.uint8)
    return Split(x=x, context={"label": rng.integers(0, 3, num)})


def good() -> DataSplits:
    return DataSplits(train=images(200, 0), test=images(20, 1))


def load(spec: DatasetSpec, splits: DataSplits) -> Any:
    return load_splits(spec, lambda _: splits, Path("unused"))


def with_x(x: np.ndarray) -> DataSplits:
    return dataclasses.replace(good(), test=dataclasses.replace(good().test, x=x))


def test_the_loader_gets_the_data_folder(tmp_path: Path) -> None:
    seen = []

    def loader(data_dir: Path) -> DataSplits:
        seen.append(data_dir)
        return good()

    load_splits(SPEC, loader, tmp_path)
    assert seen == [tmp_path]


def test_validation_is_taken_off_train() -> None:
    loaded = load(SPEC, good())
    train, validation = loaded.splits.train, loaded.splits["validation"]
    assert (len(train), len(validation), len(loaded.splits.test)) == (180, 20, 20)
    sizes = (loaded.info.num_train, loaded.info.num_validation, loaded.info.num_test)
    assert sizes == (180, 20, 20)
    rows = np.concatenate([train.x, validation.x]).reshape(200, -1)
    labels = np.concatenate([train.context["label"], validation.context["label"]])
    together = np.column_stack([rows, labels])
    expected = np.column_stack([good().train.x.reshape(200, -1), good().train.context["label"]])
    assert sorted(map(tuple, together)) == sorted(map(tuple, expected))


def test_the_validation_split_is_pinned() -> None:
    spec = dataclasses.replace(SPEC, num_train=20, context={})
    x = np.arange(160, dtype=np.uint8).reshape(20, 1, 2, 4) % 16
    x[:, 0, 0, 0] = np.arange(20) % 16
    x[:, 0, 0, 1] = np.arange(20) // 16
    splits = DataSplits(train=Split(x=x), test=Split(x=images(20, 1).x))
    rows = load(spec, splits).splits["validation"].x.astype(int)
    assert (rows[:, 0, 0, 0] + 16 * rows[:, 0, 0, 1]).tolist() == [4, 7]


def test_a_validation_split_of_its_own_is_kept() -> None:
    spec = dataclasses.replace(SPEC, num_validation=30)
    splits = dataclasses.replace(good(), validation=images(30, 2))
    loaded = load(spec, splits)
    assert loaded.splits is splits
    assert (loaded.info.num_train, loaded.info.num_validation) == (200, 30)


def test_duplicates_in_train_stay_together() -> None:
    splits = good()
    splits.train.x[100:] = splits.train.x[:100]
    splits.train.x[:20] = images(20, 7).x  # the only examples that occur once: 40 of 200
    loaded = load(SPEC, splits)
    held_out = {row.tobytes() for row in loaded.splits["validation"].x}
    assert len(held_out) == 20
    assert held_out.isdisjoint({row.tobytes() for row in loaded.splits.train.x})


def test_too_many_duplicates_are_an_error() -> None:
    splits = good()
    splits.train.x[:] = splits.train.x[:1]
    with pytest.raises(DataError, match=r"0 distinct training examples .* needs 20"):
        load(SPEC, splits)


@pytest.mark.parametrize(
    ("num_train", "num_validation", "expected"),
    [(1437, None, 143), (50_000, None, 5_000), (1_281_167, None, 10_000), (100, 7, 7)],
)
def test_validation_size_needs_no_data(
    num_train: int, num_validation: int | None, expected: int
) -> None:
    spec = dataclasses.replace(SPEC, num_train=num_train, num_validation=num_validation)
    assert validation_size(spec) == expected


def test_the_content_hash_is_checked() -> None:
    sha256 = content_hash(good())
    assert load(dataclasses.replace(SPEC, sha256=sha256), good()).sha256 == sha256
    with pytest.raises(DataError, match=f"content hash {sha256[:16]}.*pins 0000000000000000"):
        load(dataclasses.replace(SPEC, sha256="0" * 64), good())


@pytest.mark.parametrize(("first", "second"), [("train", "test"), ("train", "validation")])
def test_shared_examples_are_found(first: str, second: str) -> None:
    spec = dataclasses.replace(SPEC, num_validation=20)
    splits = dataclasses.replace(good(), validation=images(20, 2))
    splits[second].x[[5, 9, 13]] = splits[first].x[[150, 3, 3]]  # type: ignore[index]
    message = rf"3 of 20 {second} examples are also in {first}, the first is {second}\[5\]"
    with pytest.raises(DataError, match=message):
        load(spec, splits)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (DataSplits(train=images(199, 0), test=images(20, 1)), "train split: 199 .* expected 200"),
        (DataSplits(train=images(200, 0), test=images(19, 1)), "test split: 19 .* expected 20"),
        (with_x(images(20, 1).x.reshape(20, 1, 4, 2)), r"\(1, 4, 2\), expected \(1, 2, 4\)"),
        (with_x(images(20, 1).x.astype(np.float32)), r"type float32, expected integers 0\.\.15"),
        (with_x(images(20, 1).x + np.uint8(1)), r"values in 1\.\.16, expected integers 0\.\.15"),
        (with_x(images(20, 1).x.astype(np.int64) - 1), r"values in -1\.\.14"),
        (
            dataclasses.replace(good(), validation=images(5, 3)),
            "loader gave one .* num_validation = None",
        ),
        (
            dataclasses.replace(good(), test=Split(x=images(20, 1).x)),
            r"context \[\], expected \['label'\]",
        ),
        (
            dataclasses.replace(
                good(), test=Split(x=images(20, 1).x, context={"label": np.zeros((20, 1), int)})
            ),
            r"context 'label' of shape \(20, 1\), expected \(20,\)",
        ),
        (
            dataclasses.replace(
                good(), test=Split(x=images(20, 1).x, context={"label": np.full(20, 3)})
            ),
            r"context 'label' in 3\.\.3, expected integers 0\.\.2",
        ),
    ],
)
def test_data_that_are_not_what_the_spec_says(splits: DataSplits, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(SPEC, splits)
    assert str(caught.value).startswith("dataset 'fake'")
    assert "\n" not in str(caught.value)


def test_a_missing_validation_split_is_an_error() -> None:
    with pytest.raises(DataError, match=r"loader gave none .* num_validation = 20"):
        load(dataclasses.replace(SPEC, num_validation=20), good())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.astype(np.float16), "type float16, expected float32 or float64"),
        (lambda x: x.astype(np.int64), "type int64, expected float32 or float64"),
        (lambda x: np.where(x == x.max(), np.nan, x), "not finite"),
    ],
)
def test_real_valued_data_must_be_finite_floats(change: Any, message: str) -> None:
    x = np.random.default_rng(0).normal(size=(220, 2))
    good_real = DataSplits(train=Split(x=x[:200]), test=Split(x=x[200:]))
    assert load(REAL_SPEC, good_real).info.levels is None
    with pytest.raises(DataError, match=message):
        load(REAL_SPEC, dataclasses.replace(good_real, train=Split(x=change(x[:200]))))


def test_a_dataset_without_a_loader_says_what_to_do() -> None:
    assert "flowbench list datasets" in str(not_readable_yet(SPEC))
