"""The details panel of a row: everything behind its numbers, one part for each data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from flowbench.leaderboard import figures, numbers, words
from flowbench.leaderboard.render.html.rows import RowView
from flowbench.leaderboard.render.html.samples import address, limit
from flowbench.leaderboard.table import Board, Curve, Details, Row

Frames = Mapping[tuple[str, str], figures.CurveFrame]
"""The axes that curves share, by data set and unit."""


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


def frames(board: Board) -> dict[tuple[str, str], figures.CurveFrame]:
    """Draws the axes of learning curves, shared by all rows of a data set.

    Args:
        board: The board.

    Returns:
        Frames by data set and unit.
    """
    found: dict[tuple[str, str], list[figures.Series]] = {}
    for row in board.rows:
        for _, details in _all_details(row):
            for curve in details.curves:
                found.setdefault((details.dataset, curve.unit), []).append(_series(curve))
    return {
        key: figures.CurveFrame.around(series, name=f"frame-{number}")
        for number, (key, series) in enumerate(sorted(found.items()))
    }


def max_samples(board: Board) -> int:
    """How large each row's samples may be.

    Args:
        board: The board.

    Returns:
        Bytes.
    """
    return limit(
        sum(details.samples is not None for row in board.rows for _, details in _all_details(row))
    )


def parts(board: Board, view: RowView, shared: Frames, most: int) -> list[Part]:
    """What the panel of a row shows.

    Args:
        board: The board.
        view: The row.
        shared: Axes of the learning curves.
        most: Bytes of samples.

    Returns:
        One part for each data set that it ran on.
    """
    several = bool(view.row.others)
    return [
        Part(
            dataset=dataset or details.dataset if several else "",
            details=details,
            curve=_curve(board, view.row, details, shared),
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


def _series(curve: Curve) -> figures.Series:
    return figures.Series(x=[x for x, _ in curve.points], y=[y for _, y in curve.points])


def _curve(board: Board, row: Row, details: Details, shared: Frames) -> Markup:
    if not details.curves:
        return Markup("")
    first = details.curves[0]
    frame = shared[details.dataset, first.unit]
    same = [c for c in details.curves if c.unit == first.unit]
    # Drawn by us; the XML writer escapes its texts.
    return Markup(
        frame.draw(
            [_series(curve) for curve in same],
            f"Learning curve of {words.printable(row.name)}",
            devices=first.devices,
            paper=_paper(board, row, details.dataset, first.unit),
        )
    )


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
