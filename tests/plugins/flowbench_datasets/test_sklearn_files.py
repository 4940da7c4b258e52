from __future__ import annotations

import importlib.util

import pytest

from flowbench.errors import DataError
from flowbench_datasets.sklearn_files import sklearn_file


def test_a_file_that_is_there() -> None:
    assert sklearn_file("data/digits.csv.gz").is_file()


def test_a_file_that_is_not() -> None:
    with pytest.raises(DataError, match=r"does not exist.*install scikit-learn 1.5 or later"):
        sklearn_file("data/letters.csv.gz")


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="not installed; install it"):
        sklearn_file("data/digits.csv.gz")
