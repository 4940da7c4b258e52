"""Boards: measurements ranked, laid out as a table, and rendered. Names load on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowbench.leaderboard.board.problems import problems
    from flowbench.leaderboard.keep import keep_suites
    from flowbench.leaderboard.publish import (
        FORMATS,
        boards,
        check_formats,
        suite_boards,
        terminal_table,
        write_boards,
    )

__all__ = [
    "FORMATS",
    "boards",
    "check_formats",
    "keep_suites",
    "problems",
    "suite_boards",
    "terminal_table",
    "write_boards",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = {"keep_suites": "keep", "problems": "board.problems"}.get(name, "publish")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
