"""The details panel of a row: everything behind its numbers, one part for each data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.table import Board, Details, Row
from flowbench.leaderboard.figures import Panel, Series, panels
from flowbench.leaderboard.render.html.samples import address, limit


@dataclass(frozen=True, kw_only=True)
class CurvesOfRows:
    """The learning curves of all rows, in axes that those of one data set and unit share.

    Attributes:
        symbols: What the drawings have in common.
        drawings: Of each row and data set that has curves, by the row's key and the data set.
    """

    symbols: Markup
    drawings: Mapping[tuple[str, str], Markup]


def draw_curves(board: Board) -> CurvesOfRows:
    """Draws the learning curves of all rows."""
    found: dict[tuple[str, str], dict[tuple[str, str], Panel]] = {}
    for row in board.rows:
        for _, details in all_details(row):
            if details.curves:
                unit = details.curves[0].unit
                shared = found.setdefault((details.dataset, unit), {})
                shared[row.key, details.dataset] = _panel(board, row, details, unit)
    symbols = ""
    drawings: dict[tuple[str, str], Markup] = {}
    for number, (_, shared) in enumerate(sorted(found.items())):
        symbol, drawn = panels(list(shared.values()), name=f"frame-{number}")
        symbols += symbol
        drawings |= {key: Markup(svg) for key, svg in zip(shared, drawn, strict=True)}
    # Drawn by us; the XML writer escapes their texts.
    return CurvesOfRows(symbols=Markup(symbols), drawings=drawings)


def _panel(board: Board, row: Row, details: Details, unit: str) -> Panel:
    return Panel(
        series=[Series(points=curve.points) for curve in details.curves if curve.unit == unit],
        title=f"Learning curve of {words.printable(row.name)}",
        devices=details.curves[0].devices,
        paper=_paper(board, row, details.dataset, unit),
    )


def address_of_samples(board: Board) -> Callable[[bytes], str]:
    """Writes samples into an address, each in its part of what a page has room for."""
    found = [details for row in board.rows for _, details in all_details(row)]
    most = limit(sum(details.samples is not None for details in found))
    return lambda png: address(png, most)


def all_details(row: Row) -> Iterator[tuple[str, Details]]:
    """The details of all data sets that a row ran on."""
    if row.details != Details():
        yield row.details.dataset, row.details
    yield from row.others


def worth_opening(row: Row) -> bool:
    """Whether there is more behind a row than stands in the table."""
    remarks = any(cell.published is not None and cell.published.remark for cell in row.cells)
    return bool(remarks or row.citation or row.contract or any(all_details(row)))


def settings(config: Sequence[tuple[str, str, bool]]) -> str:
    """A configuration as text."""
    return "\n".join(f"{key} = {value}" for key, value, _ in config)


def _paper(board: Board, row: Row, dataset: str, unit: str) -> float | None:
    """The paper's value of what a curve shows."""
    for column, cell in zip(board.columns, row.cells, strict=True):
        same = (cell.dataset or column.dataset) == dataset and column.unit == unit
        if same and cell.published is not None and not cell.published.unlike:
            return cell.published.value
    return None
