"""From a board to its page, and from all boards to their index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from flowbench.leaderboard.board.table import Board, Cell, Published
from flowbench.leaderboard.figures.shapes import path
from flowbench.leaderboard.render.html import panel
from flowbench.leaderboard.render.html.columns import below, style
from flowbench.leaderboard.render.html.plots import plots
from flowbench.leaderboard.render.html.rows import cell_views, statuses, tally, there
from flowbench.leaderboard.render.html.samples import MOST_HEARD, text_of
from flowbench.leaderboard.render.html.shell import render_page, render_part
from flowbench.leaderboard.render.index import Listed, content

_IN_RAIL = 2  # plots beside the table; the others stand below it
_MOST_DETAILS = 1_000_000  # characters behind the rows of a page; more are packed
_FEW = 3  # where more than one row in three is the paper's own, none stands out


def render(
    board: Board,
    *,
    home: str = "",
    downloads: Sequence[tuple[str, str]] = (),
    live: bool = False,
) -> str:
    """Writes a board as HTML.

    Args:
        home: File name of the list of boards; empty if there is none.
        downloads: Format and file name of the same board in other formats.
        live: Whether it is served, and shown anew when results change.
    """
    rows, cells, drawn = list(board.rows), board.cells, plots(board)
    papers = [cell.published for cell in cells if cell.published]
    both: list[Cell | Published] = [*cells, *papers]
    # Columns differ in what stands below, so that every heading keeps a second line.
    two_lines = not board.shared_unit and any(map(below, board.columns))
    found = {row.key: statuses(row) for row in rows}
    drawings = [(row, details) for row in rows for details in row.details if details.samples]
    counts = Counter(name for some in found.values() for name in some)
    ours, differences = any(c.value for c in cells), any(c.difference for c in cells)
    shown = {
        "board": board,
        "cells": cell_views(board),
        "statuses": found,
        # What rows can be filtered by, if it tells any of them apart.
        "filters": {name for name, n in counts.items() if n < len(rows)},
        "own_stands_out": _FEW * sum(row.own for row in rows) <= len(rows),
        "two_lines": two_lines,
        "tally": tally,
        "shape": path,
        "home": home,
        "downloads": downloads,
        "rail": drawn[:_IN_RAIL],
        "further": drawn[_IN_RAIL:],
        "drawings": panel.draw_curves(board),
        "samples": panel.address_of_samples(board),
        "recording": panel.address_of_recordings(board),
        "text_of": text_of,
        "most_heard": MOST_HEARD,
        # All samples side by side, where there is something to compare.
        "gallery": sorted(drawings, key=lambda pair: pair[1].dataset) if len(drawings) > 1 else [],
        "worth_opening": panel.worth_opening,
        # The numbers that rows can be ranked by.
        "ways": there(published=board.is_mirrored, reproduced=ours, difference=differences),
        # The parts of cells that a reader can hide.
        "parts": there(
            interval=any(c.interval for c in cells),
            difference=differences,
            budget=any(c.budget_share for c in cells),
            likelihood=any(row.sub for row in rows),
        ),
        # The marks that it has, so that its key explains these and no others.
        "marks": there(
            ours=board.has_ours,
            best=any(one.best for one in both),
            few=any(c.too_few for c in cells),
            unlike=any(one.unlike for one in both),
            remark=any(p.remark for p in papers),
            about=any(p.sign == "~" for p in papers),
            arrow=two_lines,
        ),
    }
    details = render_part("panel.html.j2", shown)
    scripts: tuple[str, ...] = ("board",)
    if len(details) > _MOST_DETAILS:
        details, scripts = panel.packed(details), ("packed", "board")
    sounds = any(d.artifacts for row in rows for d in row.details)
    return render_page(
        "board.html.j2",
        shown | {"details": details},
        *scripts,
        style=style(board),
        sounds=sounds,
        live=live,
    )


def render_index(listed: Listed) -> str:
    """Writes the list of several boards, by paper."""
    return render_page("index.html.j2", content(listed))
