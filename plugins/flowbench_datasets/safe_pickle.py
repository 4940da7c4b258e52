"""Reads old pickles of arrays without running what they name.

A pickle is a program: the plain loader calls any function that it names. This one knows the few
that arrays are built with, and refuses the rest.
"""

from __future__ import annotations

import codecs
import pickle
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from flowbench.api import DataError
from flowbench.api.readers import DAMAGE

Names = Mapping[tuple[str, str], Any]


def _dtype(code: str, *_: object) -> np.dtype[Any]:
    # Old pickles pass align and copy as integers, which NumPy has come to warn of.
    return np.dtype(code, copy=True)


_RECONSTRUCT = np.zeros(0).__reduce__()[0]  # NumPy's own; it moved from numpy.core to numpy._core
ARRAYS: Names = {
    ("numpy", "dtype"): _dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("_codecs", "encode"): codecs.encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], known: Names) -> None:
        super().__init__(file, encoding="latin1")  # of Python 2's byte strings
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            raise DataError(f"it names {module}.{name}, which no array needs")
        return self._known[module, name]


def load_arrays(file: IO[bytes], where: str, also: Names | None = None) -> Any:
    """Reads a pickle of plain containers and arrays.

    Args:
        file: The pickle.
        where: What it is, for the message.
        also: Further names that it may use, and what stands for them.

    Returns:
        What was pickled.

    Raises:
        DataError: It is damaged, or would call something else.
    """
    try:
        return _ArrayUnpickler(file, {**ARRAYS, **(also or {})}).load()
    except DataError as exc:
        raise DataError(f"{where} is not read: {exc}; fetch it from its publisher again") from exc
    except DAMAGE as exc:
        raise DataError(f"{where} is a damaged pickle ({exc}); fetch it again") from exc
