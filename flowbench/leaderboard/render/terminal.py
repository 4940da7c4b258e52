"""The board in a terminal, with rich; plain text where the output is no terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from flowbench.leaderboard import words
from flowbench.leaderboard.table import Board, Cell, Column, Published, Row
from flowbench.leaderboard.table import Group as TableGroup
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
    budget = f" · {words.budget(board.budget)}" if board.budget else ""
    table = Table(
        title=Text(printable(board.title + budget), "bold"),
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="",
    )
    if board.group_header:
        table.add_column(Text(printable(board.group_header), "bold"), no_wrap=True)
    table.add_column(Text(printable(board.row_header), "bold"), no_wrap=True, overflow="fold")
    for column in board.columns[:shown]:
        right = column.kind == "number" and board.layout == "grid"
        table.add_column(_header(column), justify="right" if right else "left", no_wrap=True)
    for index, group in enumerate(board.groups):
        if index and not group.printed:
            table.add_row()  # the paper only rules the blocks apart
        _add_group(table, board, group, shown)
    return table


def _add_group(table: Table, board: Board, group: TableGroup, shown: int) -> None:
    if group.name and group.printed and not board.group_header:
        table.add_row(Text(printable(group.name), "bold"))
    for row in group.rows:
        lead = [Text(printable(group.name))] if board.group_header else []
        table.add_row(*lead, _method(row), *(_cell(cell) for cell in row.cells[:shown]))


def _header(column: Column) -> Text:
    header = Text(printable(column.label), "bold")
    if column.detail:
        header.append(f"\n{printable(column.detail)}", "not bold dim")
    return header


def _method(row: Row) -> Text:
    name = Text(printable(row.name + row.mark), "bold" if row.own and row.model else "")
    for badge in row.badges:
        name.append(f" [{printable(badge)}]", "not bold yellow")
    if row.sub:
        name.append(f"\n  {printable(row.sub)}", "not bold dim")
    return name


def _cell(cell: Cell) -> Text:
    lines = [part for part in (_published(cell.published), _ours(cell)) if part]
    return Text("\n").join(lines)


def _published(cell: Published | None) -> Text:
    """The letter of a note comes first, so that values of a column end together."""
    if cell is None:
        return Text()
    text = Text(f"{cell.note} " if cell.note else "", "yellow")
    text.append(printable(cell.line), "dim" if cell.unlike else "bold" if cell.best else "")
    return text


def _ours(cell: Cell) -> Text:
    if not cell.value:
        return Text(printable(cell.words), "red" if cell.words.startswith("×") else "dim")
    text = Text(f"{cell.sign} " if cell.sign else "", "dim")
    marked = "dim strike" if cell.struck else "dim" if cell.unlike else "cyan"
    text.append(printable(cell.value), "bold cyan" if cell.best else marked)
    if cell.interval:
        text.append(f" {cell.interval}", "yellow" if cell.interval == "n=1" else "dim")
    for beside in (cell.difference, cell.budget_share):
        text.append(f"  {beside}" if beside else "", "dim")
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
