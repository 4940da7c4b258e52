"""From a board to its page, and from all boards to their index."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from flowbench.leaderboard import figures
from flowbench.leaderboard.render.html.columns import headings, style
from flowbench.leaderboard.render.html.environment import render_page
from flowbench.leaderboard.render.html.panel import Part, draw_curves, max_samples, parts
from flowbench.leaderboard.render.html.plots import plots
from flowbench.leaderboard.render.html.rows import (
    STATUSES,
    GroupView,
    RowView,
    group_views,
    row_ids,
)
from flowbench.leaderboard.render.index import INDEX_INTRO, sections
from flowbench.leaderboard.table import Board

_IN_RAIL = 2  # plots beside the table; the others stand below it
_FACT = re.compile(r"(\D*?)([0-9][0-9.,]*(?:\s?%)?)(.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One of the counts under the title.

    Attributes:
        before: Words before its number.
        number: The number, which stands out.
        after: Words after it.
        bad: It counts failures.
    """

    before: str
    number: str
    after: str
    bad: bool


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

    Returns:
        The page.
    """
    groups = group_views(board)
    drawn = plots(board, row_ids(board))
    curves, most = draw_curves(board), max_samples(board)
    content = {
        "board": board,
        "headings": headings(board),
        "groups": groups,
        "mirrored": board.is_mirrored,
        "statuses": _statuses(groups),
        "facts": [_fact(text) for text in board.facts],
        "shape": figures.path,
        "home": home,
        "downloads": downloads,
        "rail": drawn[:_IN_RAIL],
        "further": drawn[_IN_RAIL:],
        "frames": curves.symbols,
        "panels": [
            (group, view, found)
            for group in groups
            for view in group.rows
            if _worth_opening(view, found := parts(view, curves, most))
        ],
        "ways": _ways(board),
        "noun": board.noun,
        "has": _parts_of_cells(board),
        "there": _marks(board),
    }
    return render_page("board.html.j2", content, style=style(board))


def render_index(boards: Sequence[tuple[str, Board]]) -> str:
    """Writes the list of several boards, each with its file name, by paper."""
    return render_page("index.html.j2", {"intro": INDEX_INTRO, "sections": sections(boards)})


def _fact(text: str) -> Fact:
    match = _FACT.fullmatch(text)
    before, number, after = match.groups() if match else ("", "", text)
    return Fact(before=before, number=number, after=after, bad="failed" in text)


def _statuses(groups: Sequence[GroupView]) -> list[tuple[str, str]]:
    """What rows can be filtered by, if it tells any of them apart."""
    views = [view for group in groups for view in group.rows]
    counts = {key: sum(key in view.statuses for view in views) for key in STATUSES}
    return [(key, label) for key, label in STATUSES.items() if 0 < counts[key] < len(views)]


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
    both = [*cells, *(cell.published for cell in cells if cell.published)]
    papers = [cell.published for cell in cells if cell.published]
    found = {
        "ours": board.has_ours,
        "best": any(one.best for one in both),
        "unlike": any(one.unlike for one in both),
        "remark": any(p.remark for p in papers),
        "about": any(p.sign == "~" for p in papers),
        "arrow": any(heading.two_lines and heading.below for heading in headings(board)),
    }
    return {name for name, there in found.items() if there}


def _worth_opening(view: RowView, found: Sequence[Part]) -> bool:
    row = view.row
    remarks = any(c.published is not None and c.published.remark for c in row.cells)
    return bool(found) or remarks or row.citation is not None or bool(row.contract)
