from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

from flowbench.data.library.content import content_hash
from flowbench_datasets.breast_cancer import load
from flowbench_datasets.specs import BREAST_CANCER


def test_the_rows_are_those_that_scikit_learn_loads() -> None:
    reference = load_breast_cancer()
    splits = load(Path("unused"))
    x = np.concatenate([splits.train.x, splits.test.x])
    label = np.concatenate([splits.train.context["label"], splits.test.context["label"]])
    ours = np.column_stack([x, label])
    theirs = np.column_stack([reference.data.astype(np.float32), reference.target])
    assert sorted(map(tuple, ours.tolist())) == sorted(map(tuple, theirs.tolist()))


def test_the_content_is_pinned_and_its_size_is_said() -> None:
    splits = load(Path("unused"))
    assert content_hash(splits) == BREAST_CANCER.sha256
    assert "455 training rows for 30 columns" in BREAST_CANCER.notes
    assert (len(splits.train), len(splits.test)) == (455, 114)


def test_both_classes_are_in_both_splits() -> None:
    splits = load(Path("unused"))
    for split in (splits.train, splits.test):
        assert abs(split.context["label"].mean() - 357 / 569) < 0.05
