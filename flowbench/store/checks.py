"""Outcomes of ``flowbench check``: one file and one row for each part that was checked last.

Like attempts, checks are files first (``results/checks/<kind>/<name>.json``), so that a rebuild
finds them again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, field_validator

from flowbench.api.frozen import Frozen
from flowbench.errors import StoreError
from flowbench.files import write_whole
from flowbench.store import Connection
from flowbench.store.attempt_files import first_line
from flowbench.store.connection import database_path, reading

FOLDER = "checks"

_DELETE = "DELETE FROM checks WHERE kind = ? AND name = ?"
_SELECT = "SELECT to_json(c) FROM checks c ORDER BY kind, name"


class CheckRow(Frozen):
    """The last check of a plugin part.

    Attributes:
        kind: What was checked.
        name: Its name; of a model with the preset, if one was named.
        status: ``skipped`` if no check could be run.
        plugin: The distribution that registers it.
        flowbench_version: That of the contract.
        code_sha256: Hash of the code that was checked: the core's and that of the part's plugin;
            of a model, attempts carry the same as ``model_code_sha256``.
        ended: UTC, ISO 8601.
        seconds: What it took.
        checks: Every single check.
    """

    kind: Literal["model", "dataset", "metric"]
    name: str
    status: Literal["passed", "failed", "skipped"]
    plugin: str
    plugin_version: str
    flowbench_version: str
    code_sha256: str
    ended: str
    seconds: float
    checks: tuple[dict[str, Any], ...]

    @field_validator("name")
    @classmethod
    def _is_file_name(cls, name: str) -> str:
        """Refuses what would leave the folder of checks: the name becomes that of a file.

        Raises:
            ValueError: It is no name of a plugin part.
        """
        if not name or name.startswith(".") or any(mark in name for mark in "/\\\0"):
            raise ValueError(
                f"{name!r} is no name of a model, dataset or metric: it must not be empty, begin "
                "with a dot or hold a path separator"
            )
        return name


def write_check(results: Path, row: CheckRow) -> None:
    """Keeps an outcome in the place of the part's earlier one; the next reader finds it.

    Args:
        results: The results folder; created if need be.
        row: The outcome.

    Raises:
        StoreError: The folder cannot be written.
    """
    # A colon is no part of a file's name everywhere.
    path = results / FOLDER / row.kind / f"{row.name.replace(':', '@')}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, row.model_dump_json(indent=1))
    except OSError as exc:
        raise StoreError(
            f"cannot write {path}: {exc.strerror}; choose another folder with --results"
        ) from exc


def load_checks(
    connection: Connection, paths: Iterable[Path], report: Callable[[str], None]
) -> None:
    """Brings outcomes into an open database.

    Args:
        paths: Their files.
        report: Told, in one line each, of those that cannot be read.
    """
    for path in paths:
        try:
            _replace(connection, CheckRow.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError) as exc:
            report(f"{path}: not a check ({first_line(exc)}); run `flowbench check` again")


def latest_checks(results: Path) -> list[CheckRow]:
    """The last outcome of every part that was checked.

    Returns:
        The outcomes, by kind and name; none if there is no database yet.

    Raises:
        StoreError: The database holds something else than outcomes.
    """
    if not database_path(results).is_file():
        return []
    with reading(results) as connection:
        rows = connection.execute(_SELECT).fetchall()
    try:
        return [CheckRow.model_validate_json(text) for (text,) in rows]
    except ValidationError as exc:
        raise StoreError(
            f"{database_path(results)} holds a check that cannot be read ({first_line(exc)}); "
            "run `flowbench store rebuild`"
        ) from exc


def _replace(connection: Connection, row: CheckRow) -> None:
    # By name, so that the order of columns, which migrations append to, does not matter.
    values = row.model_dump(exclude={"checks"}) | {"checks": json.dumps(row.checks)}
    named = ", ".join(f"${name} AS {name}" for name in values)
    connection.execute("BEGIN")
    # Delete and insert: the table has no key to replace by, see `migrations`.
    connection.execute(_DELETE, [row.kind, row.name])
    connection.execute(f"INSERT INTO checks BY NAME SELECT {named}", values)
    connection.execute("COMMIT")
