"""Breast cancer: 569 cell samples of 30 measurements, from scikit-learn's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flowbench.api import DataSplits, Split
from flowbench_datasets.sklearn_files import sklearn_file

NUM_TRAIN = 455
ORDER_SEED = 0  # of the pinned permutation


def load(data_dir: Path) -> DataSplits:
    """Reads the table that scikit-learn ships.

    Args:
        data_dir: Not used; nothing is downloaded.

    Returns:
        455 training and 114 test examples of shape (30,), float32 in their own units, with labels
        (0 malignant, 1 benign).
    """
    del data_dir
    # The first line holds counts and the names of the classes.
    table = np.loadtxt(sklearn_file("data/breast_cancer.csv"), delimiter=",", skiprows=1)
    samples = Split(
        x=table[:, :-1].astype(np.float32), context={"label": table[:, -1].astype(np.int64)}
    )
    # RandomState, because NumPy promises to keep its streams for ever.
    order = np.random.RandomState(ORDER_SEED).permutation(len(samples))
    return DataSplits(train=samples.take(order[:NUM_TRAIN]), test=samples.take(order[NUM_TRAIN:]))
