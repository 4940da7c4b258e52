"""Where suites are. Light, because ``flowbench list`` comes here: no pydantic."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowbench.errors import BRIEF, SuiteError, UnknownNameError, printable, unknown_name

PACKAGE = Path(__file__).parent.parent
MAX_BYTES = 2**20  # of a suite file
SUITE_FOLDERS = (PACKAGE.parent / "leaderboards", PACKAGE / "_leaderboards")
"""In a checkout, and in an installed wheel."""


def find_suite(name: str) -> Path:
    """Finds a suite by path or by name.

    Args:
        name: Path of a TOML file, or the name of a shipped suite.

    Returns:
        Path of the TOML file.

    Raises:
        SuiteError: There is no such file.
        UnknownNameError: There is no suite of that name.
    """
    path = Path(name)
    # By its form and not by whether it exists: a misspelt path must not be looked up as a name.
    if path.suffix == ".toml":
        if path.is_file():
            return path
        raise SuiteError(f"suite file {name!r} does not exist; give a TOML file or a suite's name")
    suites = shipped_suites()
    if name not in suites:
        raise UnknownNameError(unknown_name("suite", name, suites, "flowbench list suites"))
    return suites[name]


def shipped_suites() -> dict[str, Path]:
    """The suites that ship with flowbench.

    Returns:
        Paths of their TOML files by name.
    """
    files = (path for folder in SUITE_FOLDERS for path in sorted(folder.glob("*/suite.toml")))
    return {path.parent.name: path for path in files}


def run_by_rows(suite: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The models and data sets that the rows of a suite's board name.

    Args:
        suite: A suite file's table, which need not be valid.

    Returns:
        Both lists in order, each name once; empty without rows.
    """
    board = suite.get("board")
    rows = board.get("rows") if isinstance(board, Mapping) else None
    # Not validated, since `flowbench list` shows suites that pydantic would have to be imported
    # for.
    named = rows.values() if isinstance(rows, Mapping) else ()
    pairs = [(d, row) for row in named if isinstance(row, Mapping) for d in row]
    models = (model for dataset, row in pairs for model in models_of_row(row, dataset))
    return list(dict.fromkeys(models)), list(dict.fromkeys(dataset for dataset, _ in pairs))


def models_of_row(row: Mapping[str, Any], dataset: str) -> list[str]:
    """What runs a row of a board on a data set: one model, or one for each column."""
    choice = row.get(dataset, {})
    return list(choice.values()) if isinstance(choice, Mapping) else [choice]


def models_of(suite: Mapping[str, Any]) -> list[str]:
    """What a suite runs.

    Args:
        suite: A suite file's table.

    Returns:
        Its models, else those that the rows of its board name; a name without its presets, since
        each row and data set has its own.
    """
    if "models" in suite:
        return list(suite["models"])
    return list(dict.fromkeys(model.partition(":")[0] for model in run_by_rows(suite)[0]))


def read_suite(path: Path) -> dict[str, Any]:
    """Reads a suite file without validating it.

    Raises:
        SuiteError: The file cannot be read or is not TOML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise SuiteError(f"cannot read suite file {str(path)!r}: {exc}") from exc
    if len(content) > MAX_BYTES:
        raise SuiteError(f"suite file {str(path)!r} has more than {MAX_BYTES:,} bytes")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except RecursionError as exc:
        raise SuiteError(f"suite file {str(path)!r} is nested too deeply") from exc
    except ValueError as exc:  # bad TOML, bytes that are not UTF-8, numbers of thousands of digits
        why = printable(str(exc), BRIEF)
        raise SuiteError(f"suite file {str(path)!r} is not valid TOML: {why}") from exc
