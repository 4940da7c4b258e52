"""From a board to its page, and from all boards to their index."""

from __future__ import annotations

from collections.abc import Sequence

from flowbench.leaderboard.board.table import Board, Cell, Published
from flowbench.leaderboard.figures import path
from flowbench.leaderboard.render.html import panel
from flowbench.leaderboard.render.html.columns import below, style
from flowbench.leaderboard.render.html.environment import render_page
from flowbench.leaderboard.render.html.plots import plots
from flowbench.leaderboard.render.html.rows import STATUSES, cell_views, statuses, tally
from flowbench.leaderboard.render.index import content as content_of_index

_IN_RAIL = 2  # plots beside the table; the others stand below it
_FEW = 3  # where more than one row in three is the paper's own, none stands out


def render(
    board: Board,
    *,
    home: str = "",
    downloads: Sequence[tuple[str, str]] = (),
) -> str:
    """Writes a board as HTML.

    Args:
        board: The board.
        home: File name of the list of boards; empty if there is none.
        downloads: Format and file name of the same board in other formats.
    """
    rows, drawn = list(board.rows), plots(board)
    found = {row.key: statuses(row) for row in rows}
    content = {
        "board": board,
        "cells": cell_views(board),
        "statuses": found,
        "filters": _filters(list(found.values())),
        "own_stands_out": _FEW * sum(row.own for row in rows) <= len(rows),
        "two_lines": _has_two_lines(board),
        "tally": tally,
        "shape": path,
        "home": home,
        "downloads": downloads,
        "rail": drawn[:_IN_RAIL],
        "further": drawn[_IN_RAIL:],
        "curves": panel.draw_curves(board),
        "samples": panel.address_of_samples(board),
        "all_details": panel.all_details,
        "worth_opening": panel.worth_opening,
        "ways": _ways(board),
        "has": _parts_of_cells(board),
        "there": _marks(board),
    }
    return render_page("board.html.j2", content, style=style(board))


def render_index(boards: Sequence[tuple[str, Board]]) -> str:
    """Writes the list of several boards, each with its file name, by paper."""
    return render_page("index.html.j2", content_of_index(boards))


def _filters(found: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """What rows can be filtered by, if it tells any of them apart."""
    counts = {key: sum(key in some for some in found) for key in STATUSES}
    return [(key, label) for key, label in STATUSES.items() if 0 < counts[key] < len(found)]


def _has_two_lines(board: Board) -> bool:
    """Whether columns differ in what stands below, so that every heading keeps a second line."""
    return not board.shared_unit and any(map(below, board.columns))


def _parts_of_cells(board: Board) -> list[tuple[str, str]]:
    """The parts of cells that a reader can hide."""
    cells = board.cells
    found = {
        ("interval", "interval"): any(c.interval for c in cells),
        ("difference", "difference"): any(c.difference for c in cells),
        ("budget", "share of the paper’s budget"): any(c.budget_share for c in cells),
        ("likelihood", "second line of methods"): any(row.sub for row in board.rows),
    }
    return [part for part, there in found.items() if there]


def _ways(board: Board) -> list[str]:
    """The numbers that rows can be ranked by."""
    found = {
        "published": board.is_mirrored,
        "reproduced": any(cell.value for cell in board.cells),
        "difference": any(cell.difference for cell in board.cells),
    }
    return [way for way, there in found.items() if there]


def _marks(board: Board) -> set[str]:
    """The marks that a board has, so that its key explains these and no others."""
    cells = board.cells
    papers = [cell.published for cell in cells if cell.published]
    both: list[Cell | Published] = [*cells, *papers]
    found = {
        "ours": board.has_ours,
        "best": any(one.best for one in both),
        "few": any(cell.too_few for cell in cells),
        "unlike": any(one.unlike for one in both),
        "remark": any(p.remark for p in papers),
        "about": any(p.sign == "~" for p in papers),
        "arrow": _has_two_lines(board),
    }
    return {name for name, there in found.items() if there}
