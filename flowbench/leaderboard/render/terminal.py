"""The board in a terminal, with rich; plain text where the output is no terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from flowbench.leaderboard import words
from flowbench.leaderboard.table import Board, Cell, Column, Row
from flowbench.leaderboard.words import printable

_UNBOUNDED = 10_000  # columns of text; for measuring


def render(boards: Sequence[Board]) -> RenderableType:
    """Lays boards out for a terminal.

    Args:
        boards: The boards.

    Returns:
        Something that ``rich.print`` prints.
    """
    parts: list[RenderableType] = []
    for board in boards:
        parts += [_Fitted(board), *_notes(board), Text("")]
    return Group(*parts[:-1])


class _Fitted:
    """A board with as many of its columns, from the left, as the terminal is wide."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = self._board.columns
        for shown in range(len(columns), 0, -1):
            table = _table(self._board, shown)
            unbounded = options.update(max_width=_UNBOUNDED)
            if (
                shown == 1
                or table.__rich_measure__(console, unbounded).maximum <= options.max_width
            ):
                yield table
                break
        if shown < len(columns):
            left_out = ", ".join(column.label.lower() for column in columns[shown:])
            yield Text(f"not shown in this width: {printable(left_out)}", "dim")


def _table(board: Board, shown: int) -> Table:
    table = Table(
        title=Text(printable(f"{board.title} · {words.budget(board.budget)}"), "bold"),
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="",
    )
    table.add_column(Text("Method", "bold"), no_wrap=True, overflow="fold")
    for column in board.columns[:shown]:
        table.add_column(_header(column), justify="right", no_wrap=True)
    for group in board.groups:
        if group.name:
            table.add_row(Text(printable(group.name), "bold"))
        for row in group.rows:
            table.add_row(_method(row), *(_cell(cell) for cell in row.cells[:shown]))
    return table


def _header(column: Column) -> Text:
    header = Text(printable(column.label), "bold")
    if column.detail:
        header.append(f"\n{printable(column.detail)}", "not bold dim")
    return header


def _method(row: Row) -> Text:
    name = Text(printable(row.name))
    for badge in row.badges:
        name.append(f" [{printable(badge)}]", "yellow")
    if row.sub:
        name.append(f"\n  {printable(row.sub)}", "dim")
    return name


def _cell(cell: Cell) -> Text:
    if not cell.value:
        return Text(printable(cell.words), "red" if cell.words.startswith("×") else "dim")
    text = Text(f"{cell.sign} " if cell.sign else "", "dim")
    text.append(cell.value, "dim" if cell.unlike else "bold cyan" if cell.best else "cyan")
    if cell.interval:
        text.append(f" {cell.interval}", "yellow" if cell.interval == "n=1" else "dim")
    if cell.note:
        text.append(f" {cell.note}", "yellow")
    return text


def _notes(board: Board) -> list[Text]:
    lines = [Text(printable(f"{letter}  {text}"), "dim") for letter, text in board.notes]
    for row in board.rows:
        for failure in row.details.failures:
            said = f"{row.name}: {failure.title}" + (
                f", {failure.reason}" if failure.reason else ""
            )
            lines.append(Text(printable(said), "red"))
    return lines
