"""Boards: measurements ranked, laid out as a table, and rendered. Names load on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowbench.leaderboard.publish import FORMATS, boards, terminal_table, write_board

__all__ = ["FORMATS", "boards", "terminal_table", "write_board"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.publish"), name)
