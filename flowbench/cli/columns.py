"""Plain columns and facts: whole in a pipe, and on a terminal no wider than that."""

from __future__ import annotations

import itertools
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

GAP = "  "
LEAST_TEXT = 28  # characters that the last column needs, where its values are longer

# What a terminal obeys in place of showing it: controls but for tab and line end, and marks that
# turn the direction of what follows.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(foreign: str) -> str:
    r"""A text of a plugin, a file or a log, without what a terminal would obey.

    Example:
        >>> visible("\x1b[2Jgone\a")
        '\ufffd[2Jgone\ufffd'
    """
    if foreign.isprintable():  # all but a few, and ten times as fast to see
        return foreign
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", foreign)


def terminal_width() -> int | None:
    """Columns of the terminal that is printed to; None where it is a pipe or a file."""
    # Whole in a pipe: whatever reads it there must find every value. None where a shell closed it.
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def print_columns(
    rows: Iterable[Mapping[str, Any]], columns: Iterable[str], width: int | None = None
) -> None:
    """Prints rows under a header; numbers stand to the right.

    Args:
        rows: Values by column.
        columns: What to print, in order: what may be left out comes late, a text to read last.
        width: Characters that a line may have. Columns before the last are left out and named
            where they do not fit, and the last is wrapped. None prints everything.
    """
    listed, names = list(rows), list(columns)
    cells = {name: [name, *(text(row[name]) for row in listed)] for name in names}
    widths = {name: max(map(len, column)) for name, column in cells.items()}
    shown, room = _fitting(names, widths, width)
    right = {name for name in shown if _is_number_column(listed, name)}
    for values in zip(*(cells[name] for name in shown), strict=True):
        *before, last = values
        start = GAP.join(
            value.rjust(widths[name]) if name in right else value.ljust(widths[name])
            for name, value in zip(shown, before, strict=False)
        )
        start += GAP if before else ""
        last = last.rjust(widths[shown[-1]]) if shown[-1] in right else last
        for index, line in enumerate(wrapped(last, room)):
            # An empty last cell leaves no spaces behind.
            print(f"{start if index == 0 else ' ' * len(start)}{line}".rstrip())
    left_out = [name for name in names if name not in shown]
    if left_out:
        print(*wrapped(f"(not shown in this width: {', '.join(left_out)})", width), sep="\n")


def wrapped(line: str, width: int | None) -> list[str]:
    """The lines that a text takes, broken between words alone, so that a command can be copied.

    Args:
        width: Characters of a line; None breaks nothing.
    """
    line = visible(line)
    if width is None:
        return [line]
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]


def _fitting(
    names: Sequence[str], widths: Mapping[str, int], width: int | None
) -> tuple[list[str], int | None]:
    """The columns that fit, and the room of the last."""
    if width is None or not names:
        return list(names), None
    # The first is the name: without it a line says nothing, so that the text has to go first.
    for num in range(len(names) - 1, 0, -1):
        before, last = names[:num], names[-1]
        room = width - sum(widths[name] + len(GAP) for name in before)
        if room >= min(widths[last], LEAST_TEXT):
            return [*before, last], room
    taken = itertools.accumulate(widths[name] + len(GAP) for name in names)
    num = sum(end - len(GAP) <= width for end in taken)
    return list(names[: max(1, num)]), None


def print_facts(facts: Mapping[str, Any], width: int | None = None, indent: str = "") -> None:
    """Prints values beside their names, nested ones indented.

    Args:
        facts: Plain data; a text may have several lines.
        width: Characters that a line may have; None wraps nothing.
    """
    column = max(map(len, facts), default=0)
    for key, value in facts.items():
        if isinstance(value, dict) and value:
            print(f"{indent}{key}")
            print_facts(value, width, f"{indent}  ")
            continue
        start = f"{indent}{key:<{column}}{GAP}"
        for line in _fact_lines(key, value):
            room = None if width is None else max(LEAST_TEXT, width - len(start))
            for part in wrapped(line, room):
                print(f"{start}{part}".rstrip())
                start = " " * len(start)


def _fact_lines(key: str, value: Any) -> list[str]:
    if value in (None, "", {}, [], ()):
        return ["none"]
    if key == "event_shape":
        return ["x".join(map(str, value))]
    if isinstance(value, list | tuple) and isinstance(value[0], dict):
        return [" ".join(f"{k}={_fact(v)}" for k, v in item.items()) for item in value]
    if isinstance(value, list | tuple):
        return [", ".join(map(_fact, value))]
    if key.startswith("num_") and isinstance(value, int):
        return [text(value)]
    return _fact(value).splitlines()


def _fact(value: Any) -> str:
    """A value as ``--set`` takes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def text(value: Any) -> str:
    """A value as a person reads it.

    Returns:
        Thousands grouped, yes and no for booleans, nothing for None.
    """
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else visible(str(value))


def _is_number_column(rows: list[Mapping[str, Any]], name: str) -> bool:
    values = [row[name] for row in rows if row[name] is not None]
    return bool(values) and all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in values
    )
