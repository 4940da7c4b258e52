"""Settings as people write them, ``glow.width=64``: one value of each, or several."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from flowbench.errors import SuiteError

_OPENING, _CLOSING = "([{", ")]}"


def parse_settings(assignments: Iterable[str], flag: str) -> dict[str, Any]:
    """Parses ``key=value`` flags; a value is read as JSON where it can be, else as text.

    Args:
        assignments: What the flag was given.
        flag: Name of the flag, for the error.

    Returns:
        Values by key.

    Raises:
        SuiteError: An assignment has no key or no ``=``.
    """
    return {key: parse_value(text) for key, text in split_settings(assignments, flag)}


def parse_grid(assignments: Iterable[str], flag: str) -> dict[str, list[Any]]:
    """Parses ``key=value,value``: commas part values, but within brackets and quotes.

    Args:
        assignments: What the flag was given.
        flag: Name of the flag, for the error.

    Returns:
        The values of each key, at least one and each once.

    Raises:
        SuiteError: An assignment has no key or no ``=``, or nothing stands beside a comma.
    """
    grid = {}
    for key, text in split_settings(assignments, flag):
        parts = split_at_commas(text)
        if len(parts) > 1 and "" in parts:
            raise SuiteError(
                f"malformed {flag} {key}={text}; expected a value on either side of each comma, "
                f"or '{key}=\"...\"' for a text with commas"
            )
        grid[key] = each_once(map(parse_value, parts))
    return grid


def split_settings(assignments: Iterable[str], flag: str) -> list[tuple[str, str]]:
    """Keys and texts of ``key=value`` flags.

    Args:
        assignments: What the flag was given.
        flag: Name of the flag, for the error.

    Raises:
        SuiteError: An assignment has no key or no ``=``.
    """
    found = []
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise SuiteError(f"malformed {flag} {assignment!r}; expected key=value")
        found.append((key.strip(), text))
    return found


def parse_value(text: str) -> Any:
    """A value as JSON where it can be read as such, else as text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # or more digits or brackets than Python reads
        # So that `--set model.act=relu` needs no quotes within quotes.
        return text


def split_at_commas(text: str) -> list[str]:
    """Parts of a text between commas that are in no brackets and no double quotes.

    A text whose brackets or quotes do not match is one part: it is no list of anything.
    """
    parts, start, quoted, open_ = [], 0, False, ""
    for index, character in enumerate(text):
        if character == '"' and text[index - 1 : index] != "\\":
            quoted = not quoted
        elif quoted:
            continue
        elif character in _OPENING:
            open_ += character
        elif character in _CLOSING:
            if not open_ or _OPENING.index(open_[-1]) != _CLOSING.index(character):
                return [text]
            open_ = open_[:-1]
        elif character == "," and not open_:
            parts.append(text[start:index].strip())
            start = index + 1
    if quoted or open_:
        return [text]
    # A text without commas is what it is: spaces around a value may be meant.
    return [*parts, text[start:].strip()] if parts else [text]


def each_once(values: Iterable[Any]) -> list[Any]:
    """Values in order, without those that are there already; ``1`` is another than ``true``."""
    return list({json.dumps(value, sort_keys=True): value for value in values}.values())


def setting_text(value: Any) -> str:
    """A value that `parse_grid` reads back as it is: text is quoted where it would not be."""
    if isinstance(value, str) and split_at_commas(value) == [value] == [parse_value(value)]:
        return value
    return json.dumps(value, ensure_ascii=False)
