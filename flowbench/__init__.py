"""flowbench: the benchmark harness for normalizing flows.

Names load on first use, so that ``import flowbench`` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowbench.notebook.board import Boards, board
    from flowbench.notebook.load import compare, load
    from flowbench.notebook.results import Results, curves, results
    from flowbench.notebook.run import run

    __version__: str

__all__ = [
    "Boards",
    "Results",
    "__version__",
    "board",
    "compare",
    "curves",
    "load",
    "results",
    "run",
]

_HOMES = {
    "board": "Boards board",
    "load": "compare load",
    "results": "Results curves results",
    "run": "run",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "__version__":  # of the installation; its source is the tag of the commit
        return importlib.import_module("importlib.metadata").version("flowbench")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'flowbench' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"flowbench.notebook.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
