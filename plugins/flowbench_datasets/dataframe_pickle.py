"""Reads the one DataFrame of Papamakarios et al., pickled by pandas of 2017, without pandas.

Today's pandas no longer reads it reliably, and to unpickle is to run code. Of a frame only its
column names and values are wanted: stand-ins take the place of pandas' classes and keep what they
are given.
"""

from __future__ import annotations

from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from flowbench.api import DataError
from flowbench.api.readers import DAMAGE
from flowbench_datasets.safe_pickle import load_arrays


class _Record:
    """Stands for a class of pandas: keeps its state."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Index:
    """Stands for an index."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts

    def labels(self) -> list[str]:
        """Column names."""
        return [str(label) for label in self.facts["data"]]


def _new_index(cls: type, facts: dict[str, Any]) -> _Index:
    del cls
    return _Index(facts)


_PANDAS = {
    ("pandas.core.frame", "DataFrame"): _Record,
    ("pandas.core.internals", "BlockManager"): _Record,
    **{
        (module, name): value
        for module in ("pandas.core.index", "pandas.indexes.base", "pandas.core.indexes.base")
        for name, value in (("_new_Index", _new_index), ("Index", _Index))
    },
    **{
        (f"{package}.{module}", name): _Index
        for package in ("pandas.indexes", "pandas.core.indexes")
        for module, name in (("numeric", "Int64Index"), ("range", "RangeIndex"))
    },
    ("pandas.core.index", "Int64Index"): _Index,
    ("__builtin__", "slice"): slice,
    ("builtins", "slice"): slice,
}


def read_frame(file: IO[bytes], where: str) -> tuple[list[str], NDArray[np.float64]]:
    """Reads a DataFrame of numbers.

    Args:
        file: The pickle.
        where: What it is, for messages.

    Returns:
        Column names, and values of shape (rows, columns).

    Raises:
        DataError: It is not such a frame.
    """
    frame = load_arrays(file, where, also=_PANDAS)
    try:
        axes, _, _, extra = frame.state["_data"].state
        names = axes[0].labels()
        blocks = extra["0.14.1"]["blocks"]
        values = np.empty((blocks[0]["values"].shape[1], len(names)))
        for block in blocks:
            values[:, block["mgr_locs"]] = block["values"].T
    except DAMAGE as exc:
        raise DataError(f"{where} is no DataFrame of pandas 0.14 to 0.2x ({exc})") from exc
    return names, values
