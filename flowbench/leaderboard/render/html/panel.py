"""The details panel of a row: everything behind its numbers, one part for each data set."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable

from markupsafe import Markup

from flowbench.api.data import Artifact
from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.table import Board, Details, Row
from flowbench.leaderboard.figures.curves import Panel, Series, panels
from flowbench.leaderboard.render.html.samples import address, limit, recording, room

Drawings = dict[tuple[str, str], Markup]
"""Learning curves by the row's key and the heading of its part."""


def draw_curves(board: Board) -> Drawings:
    """Draws the learning curves of all rows, in axes that those of one data set and unit share."""
    found: dict[tuple[str, str], dict[tuple[str, str], Panel]] = {}
    for row in board.rows:
        for details in row.details:
            if details.curves:
                unit = details.curves[0].unit
                shared = found.setdefault((details.dataset, unit), {})
                shared[row.key, details.heading] = _panel(board, row, details, unit)
    drawings: Drawings = {}
    for number, shared in enumerate(found.values()):
        # Drawn by us; the XML writer escapes their texts.
        drawn = map(Markup, panels(list(shared.values()), prefix=f"curve-{number}"))
        drawings |= zip(shared, drawn, strict=True)
    return drawings


def _panel(board: Board, row: Row, details: Details, unit: str) -> Panel:
    return Panel(
        series=[Series(points=curve.points) for curve in details.curves if curve.unit == unit],
        title=f"Learning curve of {words.printable(row.name)}",
        devices=details.curves[0].devices,
        paper=_paper(board, row, details, unit),
    )


def _paper(board: Board, row: Row, details: Details, unit: str) -> float | None:
    """The paper's value of what a curve shows, which falls."""
    for column, cell in zip(board.columns, row.cells, strict=True):
        same = (cell.dataset or column.dataset) == details.dataset and column.unit == unit
        same = same and details.model in ("", cell.model)
        if same and cell.published is not None and not cell.published.unlike:
            value = cell.published.value
            return value if value is None or column.direction == "lower" else -value
    return None


def address_of_samples(board: Board) -> Callable[[bytes], str]:
    """Writes samples into an address, each in its part of what a page has room for."""
    found = [details for row in board.rows for details in row.details]
    most = limit(sum(details.samples is not None for details in found))
    return lambda png: address(png, most)


def address_of_recordings(board: Board) -> Callable[[Artifact], str]:
    """Writes recordings into addresses, each in its part of what a page has room for."""
    found = [details for row in board.rows for details in row.details]
    heard = (any(a.media_type.startswith("audio/") for a in d.artifacts) for d in found)
    most = room(sum(heard))
    return lambda artifact: recording(artifact, most)


def packed(details: Markup) -> Markup:
    """Details as a page carries them where they are many: a hundredth of their size.

    Rows are much alike, so that each repeats what others say. A script lays them out again.
    """
    text = base64.b64encode(zlib.compress(details.encode(), 9)).decode()
    return Markup('<template id="packed">{}</template>').format(text)


def worth_opening(row: Row) -> bool:
    """Whether there is more behind a row than stands in the table."""
    remarks = any(cell.published is not None and cell.published.remark for cell in row.cells)
    return bool(remarks or row.remark or row.citation or row.contract or row.details)
