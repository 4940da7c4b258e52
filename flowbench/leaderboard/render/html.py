"""The board as one HTML file that needs nothing else: no network, no server, no other file.

Templates escape everything by default. Style and script stand in the page, named by their hashes in
its content security policy; nothing else may run. The same board gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from flowbench.leaderboard import figures, numbers, words
from flowbench.leaderboard.table import Board, Cell, Column, Row

_MAX_LABELLED = 8  # curves that can be told apart by labels at their ends
_SPREAD = 1.2  # a cost that varies less than this is no axis
_ON_PHONES = 3  # columns that a phone has room for; the drawer has them all
_COSTS = ("device_hours", "params", "sampling_latency", "steps")


def render(board: Board, *, others: Sequence[tuple[str, str]] = ()) -> str:
    """Writes a board as HTML.

    Args:
        board: The board.
        others: File name and title of each board beside it, itself included, for its navigation.

    Returns:
        The page.
    """
    spread = _with_spread(board)
    frame = _frame(board)
    page = {
        "board": board,
        "spread": spread,
        "marks": [
            "value" + " has-spread" * (c.key in spread) + " minor" * (i >= _ON_PHONES)
            for i, c in enumerate(board.columns)
        ],
        "others": others,
        "frame": frame,
        "frame_symbol": Markup(frame.symbol) if frame else "",
        "curves": _all_curves(board),
        "pareto": _pareto(board),
    }
    return _template("board.html.j2").render(page)


def render_index(boards: Sequence[tuple[str, Board]]) -> str:
    """Writes the list of several boards.

    Args:
        boards: File name and board of each.

    Returns:
        The page.
    """
    return _template("index.html.j2").render({"boards": boards})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("flowbench.leaderboard.render"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = _static("board.css"), _static("board.js")
    environment.globals |= {
        "style": Markup(style),  # our own file
        "script": Markup(script),  # our own file
        "policy": _policy(style, script),
        "parts": _decimal_parts,
        "better": words.better,
        "budget_words": words.budget,
        "ledger": _ledger,
        "row_curves": _row_curves,
        "seconds": numbers.duration,
    }
    environment.filters |= {"printable": words.printable, "data_uri": _data_uri, "log": _log}
    return environment


def _template(name: str) -> Template:
    return _environment().get_template(name)


def _static(name: str) -> str:
    return files("flowbench.leaderboard.render").joinpath("static", name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """The content security policy: this style, this script, images from the page itself."""

    def source(text: str) -> str:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return f"'sha256-{digest}'"

    return (
        f"default-src 'none'; style-src {source(style)}; script-src {source(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _log(text: str) -> str:
    """A log as printable lines."""
    return "\n".join(words.printable(line) for line in text.splitlines())


def _with_spread(board: Board) -> set[str]:
    """Columns that keep room for an interval, so that decimal points meet."""
    return {
        column.key
        for row in board.rows
        for column, cell in zip(board.columns, row.cells, strict=True)
        if cell.interval
    }


def _decimal_parts(cell: Cell) -> tuple[str, str]:
    """A value cut at its decimal point, so that points meet down a column."""
    whole, point, fraction = cell.value.partition(".")
    return whole, point + fraction


# --- figures --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Figure:
    svg: Markup
    quantity: str
    cost: str = ""


def _all_curves(board: Board) -> _Figure | None:
    """The learning curve of every method, one run each."""
    rows = [row for row in board.rows if row.details.curves]
    if not rows:
        return None
    best = {row.key for row in rows if row.cells[0].best} or {rows[0].key}
    labelled = {row.key for row in rows[:_MAX_LABELLED]}
    series = [
        figures.Series(
            x=[x for x, _ in row.details.curves[0].points],
            y=[y for _, y in row.details.curves[0].points],
            label=words.printable(row.name.split(":")[0])[:12] if row.key in labelled else "",
            lead=row.key in best,
        )
        for row in sorted(rows, key=lambda row: row.key in best)
    ]
    title = f"Learning curves of {len(rows)} methods on {board.columns[0].dataset}"
    svg = figures.curves(
        series, prefix="curves", title=title, height=200, x_title="charged seconds"
    )
    return _Figure(svg=Markup(svg), quantity=rows[0].details.curves[0].unit)


def _frame(board: Board) -> figures.CurveFrame | None:
    """The axes that the learning curves of all rows share."""
    series = [s for row in board.rows for s in _series(row)]
    if not series:
        return None
    return figures.CurveFrame.around(series, name="curve-frame", x_title="charged seconds")


def _series(row: Row) -> list[figures.Series]:
    return [
        figures.Series(x=[x for x, _ in curve.points], y=[y for _, y in curve.points])
        for curve in row.details.curves
    ]


def _row_curves(frame: figures.CurveFrame | None, row: Row) -> Markup | None:
    if frame is None or not row.details.curves:
        return None
    # Drawn by us; the XML writer escapes its texts.
    return Markup(frame.draw(_series(row), f"Learning curve of {words.printable(row.name)}"))


def _pareto(board: Board) -> _Figure | None:
    """Quality against the first cost that tells methods apart."""
    quality = board.columns[0]
    cells = [(row, dict(zip(_metrics(board), row.cells, strict=True))) for row in board.rows]
    for name in _COSTS:
        found = list(_points(cells, quality, name))
        costs = [p.x for p in found]
        if len(found) > 1 and max(costs) > _SPREAD * min(costs):
            column = next(c for c in board.columns if c.metric == name)
            cost = column.label.lower() + (f", {column.unit}" if column.unit else "")
            svg = figures.pareto(
                found,
                prefix="pareto",
                title=f"{quality.label} against {cost}",
                x_title=f"{cost}, log scale",
            )
            return _Figure(svg=Markup(svg), quantity=quality.label, cost=cost)
    return None


def _metrics(board: Board) -> list[str]:
    return [column.metric for column in board.columns]


def _points(
    cells: Sequence[tuple[Row, Mapping[str, Cell]]], quality: Column, cost: str
) -> Iterator[figures.Point]:
    for row, by_metric in cells:
        x, y = by_metric.get(cost), by_metric[quality.metric]
        if x is None or not x.mean or y.mean is None or x.mean <= 0 or quality.direction != "lower":
            continue
        yield figures.Point(
            x=x.mean,
            y=y.mean,
            half_width=y.half_width,
            label=words.printable(row.name.split(":")[0]),
            ranked=not y.unlike,
        )


@dataclass(frozen=True, kw_only=True)
class _Part:
    name: str
    start: float
    width: float
    share: str


def _ledger(row: Row) -> list[_Part]:
    """The parts of the clock as stretches of a bar of 1000."""
    total = sum(seconds for _, seconds in row.details.ledger)
    parts, start = [], 0.0
    for name, seconds in row.details.ledger:
        width = 1000 * seconds / total
        percent = 100 * seconds / total
        share = f"{percent:.0f}{numbers.NO_BREAK}%" if percent >= 1 else f"<1{numbers.NO_BREAK}%"
        parts.append(_Part(name=name, start=round(start, 2), width=round(width, 2), share=share))
        start += width
    return parts
