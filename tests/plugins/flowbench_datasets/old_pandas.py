"""Writes a DataFrame as pandas 0.19 pickled it, by classes that take pandas' names."""

from __future__ import annotations

import io
import pickle
import sys
from types import ModuleType
from typing import Any

import numpy as np


class BlockManager:
    def __init__(self, state: Any) -> None:
        self.content = state

    def __getstate__(self) -> Any:
        return self.content


class DataFrame:
    def __init__(self, manager: BlockManager) -> None:
        self.manager = manager

    def __getstate__(self) -> Any:
        return {"_metadata": [], "_typ": "dataframe", "_data": self.manager}


class Index:
    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts

    def __reduce__(self) -> Any:
        return _new_Index, (type(self), self.facts), None


class RangeIndex(Index): ...


def _new_Index(cls: type[Index], facts: dict[str, Any]) -> Index:
    return cls(facts)


HOMES: dict[str, list[Any]] = {
    "pandas.core.frame": [DataFrame],
    "pandas.core.internals": [BlockManager],
    "pandas.indexes.base": [Index, _new_Index],
    "pandas.indexes.range": [RangeIndex],
}


def pickle_frame(values: np.ndarray, columns: list[str]) -> bytes:
    """A frame whose first column has a block of its own, as a column of another type has."""
    axes = [
        Index({"data": np.array(columns, dtype=object), "name": None}),
        RangeIndex({"name": None, "start": 0, "step": 1, "stop": len(values)}),
    ]
    first: dict[str, Any] = {"values": values[:, :1].T.copy(), "mgr_locs": slice(0, 1, 1)}
    rest: dict[str, Any] = {
        "values": values[:, 1:].T.copy(),
        "mgr_locs": np.arange(1, len(columns)),
    }
    blocks = [first, rest]
    state = (
        axes,
        [block["values"] for block in blocks],
        [axes[0], axes[0]],
        {"0.14.1": {"axes": axes, "blocks": blocks}},
    )
    return _pickled_as_pandas(DataFrame(BlockManager(state)))


def _pickled_as_pandas(frame: DataFrame) -> bytes:
    names = {part for home in HOMES for part in _parents(home)}
    before = {name: sys.modules.get(name) for name in names}
    try:
        sys.modules.update({name: ModuleType(name) for name in names})
        for home, objects in HOMES.items():
            for thing in objects:
                thing.__module__ = home
                setattr(sys.modules[home], thing.__name__, thing)
        packed = io.BytesIO()
        pickle.Pickler(packed, protocol=2).dump(frame)
        return packed.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]
