"""Digits: 1,797 handwritten digits of 8x8 pixels and 17 grey levels, from scikit-learn's files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from flowbench.api import DataSplits, Split
from flowbench_datasets.sklearn_files import sklearn_file

NUM_TRAIN = 1437
SHAPE = (1, 8, 8)
ORDER_SEED = 0  # of the pinned permutation


def load(data_dir: Path) -> DataSplits:
    """Reads the digits that scikit-learn ships.

    Args:
        data_dir: Not used; nothing is downloaded.

    Returns:
        1,437 training and 360 test examples of shape (1, 8, 8), uint8 levels 0..16, with labels.
    """
    del data_dir
    with gzip.open(sklearn_file("data/digits.csv.gz"), "rt", encoding="ascii") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    images, labels = table[:, :-1].reshape(-1, *SHAPE), table[:, -1].astype(np.int64)
    digits = Split(x=images, context={"label": labels})
    # RandomState, because NumPy promises to keep its streams for ever.
    order = np.random.RandomState(ORDER_SEED).permutation(len(digits))
    return DataSplits(train=digits.take(order[:NUM_TRAIN]), test=digits.take(order[NUM_TRAIN:]))
