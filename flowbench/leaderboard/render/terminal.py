"""The board in a terminal, with rich; plain text where the output is no terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from flowbench.errors import BRIEF, abridged
from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.ranking import TIE_RULE
from flowbench.leaderboard.board.table import Board, Row
from flowbench.leaderboard.board.words import STANDINGS, printable

_SUB = 48  # columns for what stands below a name, so that values keep theirs
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
            table = self._table(shown)
            if table.__rich_measure__(console, unbounded).maximum <= options.max_width:
                break
        yield table
        if shown < len(columns):
            left_out = ", ".join(column.label.lower() for column in columns[shown:])
            yield Text(f"not shown in this width: {printable(left_out)}", "dim")

    def _table(self, shown: int) -> Table:
        board = self._board
        budget = f" · {words.budget(board.budget)}" if board.budget else ""
        title = Text(printable(board.title + budget), "bold")
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="")
        lead = [name for name in (board.group_header, board.row_header) if name]
        for name in lead:
            table.add_column(Text(printable(name), "bold"), no_wrap=True, overflow="fold")
        for column in board.columns[:shown]:
            right = column.kind == "number" and board.layout == "grid"
            header = Text(printable(column.label), "bold")
            header.append(f"\n{printable(column.under)}" * bool(column.under), "not bold dim")
            table.add_column(header, justify="right" if right else "left", no_wrap=True)
        for line in self._lines:
            table.add_row(*line[: len(lead) + shown])
        return table


def _lines(board: Board) -> Iterator[list[Text]]:
    """Groups and rows, with cells from the table that all flat formats are made of."""
    cells = iter(board.to_frame().to_dict("records"))
    letters = {text: f"{letter} " for letter, text in board.notes}
    for index, group in enumerate(board.groups):
        if index and not group.printed:
            yield []  # the paper only rules the blocks apart
        if group.name and group.printed and not board.group_header:
            yield [Text(printable(group.name), "bold")]
        lead = [Text(printable(group.name))] if board.group_header else []
        for row in group.rows:
            yield [*lead, _method(row), *(_cell(next(cells), letters) for _ in row.cells)]


def _method(row: Row) -> Text:
    name = Text(printable(row.name + row.mark), "bold" if row.own and row.model else "")
    for badge in row.badges:
        look = "not bold dim" if badge in STANDINGS else "not bold yellow"
        name.append(f" [{printable(badge)}]", look)
    told = textwrap.wrap(printable(row.sub), _SUB, break_long_words=False, break_on_hyphens=False)
    return name.append("".join(f"\n  {line}" for line in told), "not bold dim")


def _cell(cell: Mapping[str, Any], letters: Mapping[str, str]) -> Text:
    theirs, ours = _published(cell, letters), _ours(cell, letters)
    return Text("\n").join(part for part in (theirs, ours) if part)


def _published(cell: Mapping[str, Any], letters: Mapping[str, str]) -> Text:
    """The letter of a note comes first, so that values of a column end together."""
    look = "dim" if cell["published_unlike"] else "bold" if cell["published_best"] else ""
    value = printable(cell["published_sign"] + cell["published"])
    return Text.assemble((letters.get(cell["published_note"], ""), "yellow"), (value, look))


def _ours(cell: Mapping[str, Any], letters: Mapping[str, str]) -> Text:
    if not cell["value"]:
        return Text(printable(cell["words"]), "red" if cell["words"].startswith("×") else "dim")
    look = "dim strike" if cell["struck"] else "dim" if cell["unlike"] else "cyan"
    beside = [f"  {cell[name]}" for name in ("difference", "budget_share") if cell[name]]
    return Text.assemble(
        (f"{cell['sign']} " if cell["sign"] else "", "dim"),
        (printable(cell["value"]), "bold cyan" if cell["best"] else look),
        (f" {cell['interval']}".rstrip(), "yellow" if cell["interval"] == "n=1" else "dim"),
        ("".join(beside), "dim"),
        (f" {letters.get(cell['note'], '')}".rstrip(), "yellow"),
    )


def _notes(board: Board) -> list[Text]:
    lines = [Text(TIE_RULE, "dim")] if any(cell.rank for cell in board.cells) else []
    lines += [Text(f"[{badge}] {text}", "dim") for badge, text in board.badges]
    lines += [Text(printable(f"{letter}  {text}"), "dim") for letter, text in board.notes]
    lines += [Text(printable(caveat), "dim") for caveat in board.caveats]
    lines += [Text(board.unshown, "dim")] if board.unshown else []
    for row in board.rows:
        for failure in (failure for details in row.details for failure in details.failures):
            reason = f", {abridged(failure.reason, BRIEF)}" if failure.reason else ""
            lines.append(Text(printable(f"{row.name}: {failure.title}{reason}"), "red"))
    return lines
