"""Boards in Python: as a table of pandas, as a page, and as a notebook shows them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flowbench import leaderboard, paths
from flowbench.errors import LeaderboardError
from flowbench.suite.find import find_suite
from flowbench.suite.load import load_suite

if TYPE_CHECKING:
    import pandas as pd

    from flowbench.leaderboard.board.table import Board
    from flowbench.suite.schema import Suite

HEIGHT = 560  # pixels of a page in a notebook
WIDTH = 160  # of the table that a prompt shows


@dataclass(frozen=True)
class Boards:
    """One or more boards of a results folder.

    Attributes:
        boards: The boards, each of one data set and budget, or as its suite lays it out.
    """

    boards: tuple[Board, ...]

    def to_frame(self) -> pd.DataFrame:
        """Every cell, as shown and in full precision: a row a cell."""
        import pandas as pd

        return pd.concat([board.to_frame() for board in self.boards], ignore_index=True)

    def to_html(self) -> str:
        """The board as one page that needs nothing else, as ``flowbench leaderboard`` writes it.

        Raises:
            LeaderboardError: There are several; a page holds one.
        """
        if len(self.boards) != 1:
            names = ", ".join(board.slug for board in self.boards)
            raise LeaderboardError(
                f"{len(self.boards)} boards ({names}) do not fit on one page; take one of "
                "`.boards`, or write all with `flowbench leaderboard`"
            )
        return _page(self.boards[0])

    def __str__(self) -> str:
        from rich.console import Console

        from flowbench.leaderboard.render import terminal

        console = Console(width=WIDTH, force_jupyter=False, force_terminal=False, color_system=None)
        with console.capture() as captured:
            console.print(terminal.render(list(self.boards)))
        return captured.get().rstrip("\n")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # A frame of its own: the page's style must not reach the notebook, nor the other way.
        style = f"width:100%;height:{HEIGHT}px;border:0;resize:vertical"
        return "".join(
            f'<iframe title="{html.escape(board.title)}" style="{style}" sandbox="allow-scripts '
            f'allow-popups" srcdoc="{html.escape(_page(board))}"></iframe>'
            for board in self.boards
        )


def _page(board: Board) -> str:
    from flowbench.leaderboard.render.html import render

    return render(board, home="", downloads=[])


def board(*suites: str, results: str | Path | None = None, details: bool = True) -> Boards:
    """Boards of suites, or of all results.

    Args:
        suites: Names or TOML files; none shows a board for each data set and budget.
        results: The results folder; by default FLOWBENCH_RESULTS or ``results``.
        details: Load curves and samples of the rows too.

    Returns:
        The boards: ``.to_frame()``, ``.to_html()``; a notebook shows them.

    Raises:
        LeaderboardError: There is nothing to show.
    """
    folder = paths.results_dir(Path(results) if results else None)
    if not suites:
        return Boards(tuple(leaderboard.boards(folder, with_details=details)))
    loaded = [load_suite(find_suite(name)) for name in suites]
    return Boards(tuple(leaderboard.suite_boards(folder, loaded, with_details=details)))


def of_jobs(results: Path, jobs: Sequence[str], suite: Suite) -> Boards:
    """The board that a run ends with."""
    if suite.lays_out:
        return Boards(tuple(leaderboard.suite_boards(results, [suite], with_details=True)))
    return Boards(tuple(leaderboard.boards(results, jobs, with_details=True)))
