"""The board as GitHub's Markdown."""

from __future__ import annotations

import re

from flowbench.leaderboard import words
from flowbench.leaderboard.table import Board, Cell, Column, Row

# All that Markdown or the HTML inside it gives a meaning to.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$@])")


def render(board: Board) -> str:
    """Writes a board as Markdown.

    Args:
        board: The board.

    Returns:
        The text.
    """
    lines = [f"# {escape(board.title)}", "", escape(board.description), ""]
    heads = ["Method", *(_header(column) for column in board.columns)]
    lines += [_line(heads), _line(["---", *("---:" for _ in board.columns)])]
    for group in board.groups:
        if group.name:
            lines.append(_line([f"**{escape(group.name)}**", *("" for _ in board.columns)]))
        lines += [_line([_method(row), *(_cell(cell) for cell in row.cells)]) for row in group.rows]
    if board.notes:
        lines.append("")
        lines += [f"<sup>{letter}</sup> {escape(text)}  " for letter, text in board.notes]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    r"""Makes any text inert in Markdown.

    Args:
        text: The text.

    Returns:
        One line with a backslash before every special character.
    """
    return _SPECIAL.sub(r"\\\1", words.printable(text))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _header(column: Column) -> str:
    unit = f", {escape(column.detail)}" if column.detail else ""
    better = words.better(column.direction)
    return f"{escape(column.label)}{unit}" + (f" ({better})" if better else "")


def _method(row: Row) -> str:
    badges = "".join(f" \\[{escape(badge)}\\]" for badge in row.badges)
    return escape(row.name) + badges + (f"<br>{escape(row.sub)}" if row.sub else "")


def _cell(cell: Cell) -> str:
    if not cell.value:
        return escape(cell.words)
    value = f"**{cell.value}**" if cell.best else cell.value
    # "<" of a value that rounds to 0 is ours, and has to be escaped all the same.
    parts = [part for part in (cell.sign, value.replace("<", "&lt;"), cell.interval) if part]
    text = " ".join(parts).replace("±<", "±&lt;")
    return f"{text} <sup>{cell.note}</sup>" if cell.note else text
