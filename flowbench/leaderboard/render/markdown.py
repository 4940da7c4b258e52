"""The board as GitHub's Markdown: published values above, ours below them in the same cell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from flowbench.leaderboard import words
from flowbench.leaderboard.render.index import INDEX_INTRO, sections
from flowbench.leaderboard.table import Board, Cell, Column, Group, Published, Row

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
    if board.shared_unit:
        lines += [f"{escape(board.shared_unit)}.", ""]
    lead = [board.group_header, board.row_header] if board.group_header else [board.row_header]
    lines.append(_line([*map(escape, lead), *(_header(column, board) for column in board.columns)]))
    aligned = ("---:" if column.kind == "number" else "---" for column in board.columns)
    lines.append(_line([*("---" for _ in lead), *aligned]))
    for group in board.groups:
        lines += _group(board, group)
    lines += _below(board)
    return "\n".join(lines) + "\n"


def render_index(boards: Sequence[tuple[str, Board]]) -> str:
    """Writes the list of several boards, each with its file name, by paper."""
    lines = ["# Boards", "", escape(INDEX_INTRO)]
    for paper, some in sections(boards).items():
        lines += ["", f"## {escape(paper)}", ""]
        lines += [_line(["Board", "Table", "Rows", "Published", "Reproduced", "Best reproduced"])]
        lines += [_line(["---", "---", "---:", "---:", "---:", "---"])]
        for board in some:
            link = f"[{escape(board.title)}]({board.file})"
            counts = [str(board.rows), str(board.published or ""), str(board.reproduced or "")]
            lines += [_line([link, escape(board.about), *counts, escape(board.leader)])]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    r"""Makes any text inert in Markdown.

    Args:
        text: The text.

    Returns:
        One line with a backslash before every special character.
    """
    return _SPECIAL.sub(r"\\\1", words.printable(text))


def _group(board: Board, group: Group) -> Iterator[str]:
    if group.name and group.printed and not board.group_header:
        yield _line([f"**{escape(group.name)}**", *("" for _ in board.columns)])
    for row in group.rows:
        lead = [escape(group.name)] if board.group_header else []
        yield _line([*lead, _method(row), *(_cell(cell) for cell in row.cells)])


def _below(board: Board) -> Iterator[str]:
    if board.notes:
        yield ""
        yield from (f"<sup>{letter}</sup> {escape(text)}  " for letter, text in board.notes)
    if board.source is not None:
        yield ""
        yield escape(" ".join((board.source.provenance, *board.source.caveats)))
        if board.source.citation is not None:
            yield ""
            yield escape(board.source.citation.line)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _header(column: Column, board: Board) -> str:
    detail = f", {escape(column.detail)}" if column.detail else ""
    better = "" if board.shared_unit else words.better(column.direction)
    return f"{escape(column.label)}{detail}" + (f" ({better})" if better else "")


def _method(row: Row) -> str:
    badges = "".join(f" \\[{escape(badge)}\\]" for badge in row.badges)
    name = escape(row.name) + escape(row.mark)
    return name + badges + (f"<br>{escape(row.sub)}" if row.sub else "")


def _cell(cell: Cell) -> str:
    parts = [_published(cell.published), _ours(cell)]
    return "<br>".join(part for part in parts if part)


def _published(cell: Published | None) -> str:
    if cell is None:
        return ""
    text = escape(cell.line)
    return (f"**{text}**" if cell.best else text) + _letter(cell.note)


def _ours(cell: Cell) -> str:
    if not cell.value:
        return escape(cell.words)
    value = escape(cell.value)
    value = f"**{value}**" if cell.best else f"~~{value}~~" if cell.struck else value
    text = " ".join(part for part in (cell.sign, value, escape(cell.interval)) if part)
    beside = "; ".join(escape(p) for p in (cell.difference, cell.budget_share) if p)
    return text + _letter(cell.note) + (f" ({beside})" if beside else "")


def _letter(note: str) -> str:
    return f" <sup>{note}</sup>" if note else ""
