"""Plain columns: they survive a pipe, and never cut or wrap a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def print_columns(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> None:
    """Prints rows under a header; numbers stand to the right, the last column is not padded.

    Args:
        rows: Values by column.
        columns: What to print, in order.
    """
    # Both are gone through twice: for widths, then to be printed.
    names, listed = list(columns), list(rows)
    cells = [names, *([text(row[name]) for name in names] for row in listed)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    right = [_is_number_column(listed, name) for name in names]
    for line in cells:
        padded = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        )
        print("  ".join(padded).rstrip())  # an empty last cell leaves no spaces behind


def text(value: Any) -> str:
    """A value as a person reads it.

    Returns:
        Thousands grouped, yes and no for booleans, nothing for None.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def _is_number_column(rows: list[Mapping[str, Any]], name: str) -> bool:
    values = [row[name] for row in rows if row[name] is not None]
    return bool(values) and all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in values
    )
