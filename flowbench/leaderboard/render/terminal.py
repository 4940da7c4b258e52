"""The board in a terminal, with rich; plain text where the output is no terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.ranking import TIE_RULE
from flowbench.leaderboard.board.table import Board, Column, Row
from flowbench.leaderboard.board.words import printable

_UNBOUNDED = 10_000  # columns of text; for measuring


def render(boards: Sequence[Board]) -> RenderableType:
    """Lays boards out as something that ``rich.print`` prints."""
    parts: list[RenderableType] = []
    for board in boards:
        parts += [_Fitted(board), *_notes(board), Text("")]
    return Group(*parts[:-1])


class _Fitted:
    """A board with as many of its columns, from the left, as the terminal is wide."""

    def __init__(self, board: Board) -> None:
        self._board, self._lines = board, list(_lines(board))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns, unbounded = self._board.columns, options.update(max_width=_UNBOUNDED)
        for shown in range(len(columns), 0, -1):
            table = _table(self._board, self._lines, shown)
            width = table.__rich_measure__(console, unbounded).maximum
            if shown == 1 or width <= options.max_width:
                yield table
                break
        if shown < len(columns):
            left_out = ", ".join(column.label.lower() for column in columns[shown:])
            yield Text(f"not shown in this width: {printable(left_out)}", "dim")


def _lines(board: Board) -> Iterator[list[Text]]:
    """The cells of each row, from the table that all flat formats are made of."""
    cells = board.to_frame().to_dict("records")
    letters = {text: letter for letter, text in board.notes}
    width = len(board.columns)
    for start in range(0, len(cells), width):
        yield [_cell(cell, letters) for cell in cells[start : start + width]]


def _table(board: Board, lines: Sequence[Sequence[Text]], shown: int) -> Table:
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
    left = iter(lines)
    for index, group in enumerate(board.groups):
        name = Text(printable(group.name))
        if index and not group.printed:
            table.add_row()  # the paper only rules the blocks apart
        if group.name and group.printed and not board.group_header:
            name.stylize("bold")
            table.add_row(name)
        for row in group.rows:
            table.add_row(
                *([name] if board.group_header else []), _method(row), *next(left)[:shown]
            )
    return table


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


def _cell(cell: Mapping[str, Any], letters: Mapping[str, str]) -> Text:
    theirs, ours = _published(cell, letters), _ours(cell, letters)
    return Text("\n").join(part for part in (theirs, ours) if part)


def _published(cell: Mapping[str, Any], letters: Mapping[str, str]) -> Text:
    """The letter of a note comes first, so that values of a column end together."""
    letter = letters.get(cell["published_note"], "")
    look = "dim" if cell["published_unlike"] else "bold" if cell["published_best"] else ""
    text = Text(f"{letter} " if letter else "", "yellow")
    return text.append(printable(cell["published_sign"] + cell["published"]), look)


def _ours(cell: Mapping[str, Any], letters: Mapping[str, str]) -> Text:
    if not cell["value"]:
        return Text(printable(cell["words"]), "red" if cell["words"].startswith("×") else "dim")
    look = "dim strike" if cell["struck"] else "dim" if cell["unlike"] else "cyan"
    text = Text(f"{cell['sign']} " if cell["sign"] else "", "dim")
    text.append(printable(cell["value"]), "bold cyan" if cell["best"] else look)
    if cell["interval"]:
        text.append(f" {cell['interval']}", "yellow" if cell["interval"] == "n=1" else "dim")
    for beside in (cell["difference"], cell["budget_share"]):
        text.append(f"  {beside}" if beside else "", "dim")
    letter = letters.get(cell["note"], "")
    return text.append(f" {letter}" if letter else "", "yellow")


def _notes(board: Board) -> list[Text]:
    lines = [Text(TIE_RULE, "dim")] if any(cell.rank for cell in board.cells) else []
    lines += [Text(printable(f"{letter}  {text}"), "dim") for letter, text in board.notes]
    for row in board.rows:
        for failure in (failure for details in row.details for failure in details.failures):
            reason = f", {failure.reason}" if failure.reason else ""
            lines.append(Text(printable(f"{row.name}: {failure.title}{reason}"), "red"))
    return lines
