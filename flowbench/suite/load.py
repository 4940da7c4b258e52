"""TOML or flags -> `Suite`. Errors name the key and the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flowbench.errors import SuiteError
from flowbench.suite.find import read_suite, run_by_rows
from flowbench.suite.schema import Suite


def load_suite(path: Path) -> Suite:
    """Reads a suite file.

    Args:
        path: A TOML file with the keys of `Suite`; overrides stand in a table ``set``. A suite is
            named after the file, or after the folder of a ``suite.toml``.

    Raises:
        SuiteError: The file cannot be read, is not TOML, or has a key or value that is not valid.
    """
    data = read_suite(path)
    data.setdefault("name", path.parent.name if path.name == "suite.toml" else path.stem)
    if isinstance(data.get("seeds"), str):
        data["seeds"] = parse_seeds(data["seeds"])
    data["overrides"] = dict(_flatten(data.pop("set", {})))
    if isinstance(data.get("board"), Mapping) and data["board"].get("published"):
        models, datasets = run_by_rows(data)
        data = {"models": models, "datasets": datasets, **data}
    return build_suite(data, source=f"suite file {str(path)!r}")


def build_suite(data: Mapping[str, Any], source: str) -> Suite:
    """Validates a suite.

    Args:
        data: Values by the keys of `Suite`.
        source: Where they come from, for the error.

    Raises:
        SuiteError: A key or value is not valid.
    """
    try:
        return Suite.model_validate(data)
    except ValidationError as exc:
        raise SuiteError(f"{source}: {first_problem(exc)}") from exc


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def first_problem(error: ValidationError) -> str:
    """Puts the first problem that pydantic found into one line.

    Args:
        error: What pydantic raised.

    Returns:
        ``"key: message, got value"``.
    """
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"]) or "value"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    return f"{key}: {message}, got {problem['input']!r}"


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parses ``0-2`` or ``0,3,7``.

    Args:
        text: Seeds and inclusive ranges, separated by commas.

    Returns:
        The seeds in order, each once.

    Raises:
        SuiteError: The text is neither.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise SuiteError(f"malformed seeds {text!r}; expected e.g. 0, 0-2 or 0,3,7")
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(dict.fromkeys(seeds))


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
    settings: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise SuiteError(f"malformed {flag} {assignment!r}; expected key=value")
        try:
            settings[key.strip()] = json.loads(text)
        except json.JSONDecodeError:
            settings[key.strip()] = text
    return settings
