"""How columns stand on a page: the room that makes decimal points meet."""

from __future__ import annotations

import re
from collections.abc import Iterator

from flowbench.leaderboard.board.table import Board, Cell, Column

_NARROW = frozenset(".,")  # half as wide as a digit in the fonts of the page
_NUMBER = re.compile(r"([-\u2212<]?[0-9][0-9,]*(?:\.[0-9]+)?|[-\u2212<]?\.[0-9]+)(.*)", re.DOTALL)
_RANGE = re.compile(r"\s*[-–/=×0-9]")


def below(column: Column) -> str:
    """What stands under a heading: unit and direction, where columns differ in them."""
    arrow = {"lower": "↓", "higher": "↑"}.get(column.direction, "")
    return " ".join(part for part in (column.under, arrow) if part)


def style(board: Board) -> str:
    """Style rules that give each column the room of its longest number."""
    rules = []
    for i, cells in enumerate(zip(*(row.cells for row in board.rows), strict=True), start=1):
        found = [head for cell in cells for head in numbers_of(cell)]
        if found:
            rules.append(f".c{i} .n{{min-width:{max(map(_width, found)):g}ch}}\n")
    return "".join(rules)


def numbers_of(cell: Cell) -> Iterator[str]:
    """The published and the reproduced number, which line up with those above and below."""
    for text in (cell.published.text if cell.published else "", cell.value):
        head, _ = split(text)
        if head:
            yield head


def split(text: str) -> tuple[str, str]:
    """Takes a printed value apart into its number and what follows.

    Args:
        text: The value as printed.

    Returns:
        E.g. ``("4.11", " ±0.08")``, ``("130", "M")``; no number for ``"8-12"`` or ``"V100"``.
    """
    match = _NUMBER.fullmatch(text)
    if match is None or _RANGE.match(match[2]):
        return "", text
    return match[1], match[2]


def _width(number: str) -> float:
    """About how wide a number is, in digits."""
    return sum(0.5 if c in _NARROW else 1.0 for c in number)


def decimals(number: str) -> tuple[int, bool]:
    """How many decimals a printed number has, and whether there is a point."""
    _, point, fraction = number.partition(".")
    return len(fraction), bool(point)
