"""The board as GitHub's Markdown: published values above, ours below them in the same cell."""

from __future__ import annotations

import re

from flowbench.leaderboard.board import words
from flowbench.leaderboard.board.table import Board
from flowbench.leaderboard.render.environment import fill_in
from flowbench.leaderboard.render.index import Listed, content

# All that Markdown or the HTML inside it gives a meaning to.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$@])")


def render(board: Board) -> str:
    """Writes a board as Markdown."""
    return fill_in("board.md.j2", escape, board=board)


def render_index(listed: Listed) -> str:
    """Writes the list of several boards, by paper."""
    return fill_in("index.md.j2", escape, **content(listed))


def escape(text: str) -> str:
    r"""Makes any text inert in Markdown: one line, a backslash before every special character."""
    return _SPECIAL.sub(r"\\\1", words.printable(text))
