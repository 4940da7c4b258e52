"""The details panel of a row: everything behind its numbers, one part for each data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from flowbench.leaderboard import figures, numbers, words
from flowbench.leaderboard.render.html.rows import RowView
from flowbench.leaderboard.render.html.samples import address, limit
from flowbench.leaderboard.table import Board, Details, Row


@dataclass(frozen=True, kw_only=True)
class CurvesOfRows:
    """The learning curves of all rows, in axes that those of one data set and unit share.

    Attributes:
        symbols: What the drawings have in common.
        drawings: Of each row and data set that has curves, by the row's key and the data set.
    """

    symbols: Markup
    drawings: Mapping[tuple[str, str], Markup]


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A part of the clock on its bar of 1000.

    Attributes:
        name: The part.
        start: Where it begins.
        width: How long it is.
        share: The same in words.
    """

    name: str
    start: float
    width: float
    share: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a row has on one data set.

    Attributes:
        dataset: The data set, where there are several.
        details: The details.
        curve: Its learning curves, drawn.
        ledger: Its clock.
        total: All of the clock.
        samples: Its samples as an address of data; empty without any.
        changed: What of the configuration differs from the preset.
        config: The whole configuration as text.
    """

    dataset: str
    details: Details
    curve: Markup
    ledger: Sequence[Stretch]
    total: str
    samples: str
    changed: Sequence[tuple[str, str]]
    config: str


def draw_curves(board: Board) -> CurvesOfRows:
    """Draws the learning curves of all rows."""
    found: dict[tuple[str, str], dict[tuple[str, str], figures.Panel]] = {}
    for row in board.rows:
        for _, details in _all_details(row):
            if details.curves:
                unit = details.curves[0].unit
                shared = found.setdefault((details.dataset, unit), {})
                shared[row.key, details.dataset] = _panel(board, row, details, unit)
    symbols = ""
    drawings: dict[tuple[str, str], Markup] = {}
    for number, (_, shared) in enumerate(sorted(found.items())):
        symbol, drawn = figures.panels(list(shared.values()), name=f"frame-{number}")
        symbols += symbol
        drawings |= {key: Markup(svg) for key, svg in zip(shared, drawn, strict=True)}
    # Drawn by us; the XML writer escapes their texts.
    return CurvesOfRows(symbols=Markup(symbols), drawings=drawings)


def _panel(board: Board, row: Row, details: Details, unit: str) -> figures.Panel:
    return figures.Panel(
        series=[
            figures.Series(x=[x for x, _ in curve.points], y=[y for _, y in curve.points])
            for curve in details.curves
            if curve.unit == unit
        ],
        title=f"Learning curve of {words.printable(row.name)}",
        devices=details.curves[0].devices,
        paper=_paper(board, row, details.dataset, unit),
    )


def max_samples(board: Board) -> int:
    """How many bytes each row's samples may have."""
    return limit(
        sum(details.samples is not None for row in board.rows for _, details in _all_details(row))
    )


def parts(view: RowView, curves: CurvesOfRows, most: int) -> list[Part]:
    """What the panel of a row shows: one part for each data set that it ran on.

    Args:
        view: The row.
        curves: The learning curves of all rows.
        most: Bytes of samples.
    """
    several = bool(view.row.others)
    return [
        Part(
            dataset=dataset or details.dataset if several else "",
            details=details,
            curve=curves.drawings.get((view.row.key, details.dataset), Markup("")),
            ledger=list(_ledger(details)),
            total=numbers.duration(sum(s for _, s in details.ledger)),
            samples=address(details.samples.png, most) if details.samples else "",
            changed=[(key, value) for key, value, by_hand in details.config if by_hand],
            config="\n".join(f"{key} = {value}" for key, value, _ in details.config),
        )
        for dataset, details in _all_details(view.row)
        if details != Details()
    ]


def _all_details(row: Row) -> Iterator[tuple[str, Details]]:
    yield "", row.details
    yield from row.others


def _paper(board: Board, row: Row, dataset: str, unit: str) -> float | None:
    """The paper's value of what a curve shows."""
    for column, cell in zip(board.columns, row.cells, strict=True):
        same = (cell.dataset or column.dataset) == dataset and column.unit == unit
        if same and cell.published is not None and not cell.published.unlike:
            return cell.published.value
    return None


def _ledger(details: Details) -> Iterator[Stretch]:
    """The parts of the clock as stretches of a bar of 1000."""
    total = sum(seconds for _, seconds in details.ledger)
    start = 0.0
    for name, seconds in details.ledger:
        width = 1000 * seconds / total
        percent = f"{width / 10:.0f}" if width >= 10 else "<1"
        yield Stretch(
            name=name,
            start=round(start, 2),
            width=round(width, 2),
            share=f"{percent}{numbers.NO_BREAK}%",
        )
        start += width
