from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from flowbench.data.library.content import content_hash
from flowbench_datasets.digits import load
from flowbench_datasets.specs import DIGITS


def test_the_images_are_those_that_scikit_learn_loads() -> None:
    reference = load_digits()
    splits = load(Path("unused"))
    x = np.concatenate([splits.train.x, splits.test.x])
    label = np.concatenate([splits.train.context["label"], splits.test.context["label"]])
    ours = np.column_stack([x.reshape(1797, 64), label])
    theirs = np.column_stack([reference.data.astype(int), reference.target])
    assert sorted(map(tuple, ours)) == sorted(map(tuple, theirs))
    assert x.dtype == np.uint8
    assert (x.min(), x.max()) == (0, 16)


def test_the_content_is_pinned() -> None:
    assert content_hash(load(Path("unused"))) == DIGITS.sha256


def test_all_classes_are_in_both_splits() -> None:
    splits = load(Path("unused"))
    for split in (splits.train, splits.test):
        counts = np.bincount(split.context["label"], minlength=10) / len(split)
        assert (abs(counts - 0.1) < 0.04).all()


def test_loading_does_not_import_scikit_learn() -> None:
    code = (
        "import sys, pathlib; from flowbench_datasets.digits import load;"
        "load(pathlib.Path()); print('sklearn' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
