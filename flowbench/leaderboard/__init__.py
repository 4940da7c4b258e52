"""Boards: measurements ranked, laid out as a table, and rendered."""

from flowbench.leaderboard.board.problems import problems
from flowbench.leaderboard.keep import keep_claims, keep_suites
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
    "keep_claims",
    "keep_suites",
    "problems",
    "suite_boards",
    "terminal_table",
    "write_boards",
]
