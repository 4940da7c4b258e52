"""Takes the folders of one machine out of records of attempts and checks.

Folders are told by the form of a path and not by where this process runs: a run may have had
another home, and the same record gives the same text wherever it is read. Paths are POSIX paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from flowbench.store.checks import CheckRow
from flowbench.store.records import AttemptRow, MeasurementRow

_START = r"(?<![^\s\"'`,;:()\[\]|=])"  # a path begins a text, or behind one of these
_PART = r"/[^/\s\"'`,;:()\[\]<>|]+"
# In this order: the more telling marks first, since the last pattern fits any path.
_MARKS = (
    (re.compile(rf"{_START}(?:{_PART})*/lib(?:64)?/python\d[\w.]*"), "<python>"),
    # The checkout, where a source file in it is named.
    (re.compile(rf"{_START}(?:{_PART})+(?=/(?:flowbench|plugins)/[^\s\"']*\.py\b)"), "."),
    (re.compile(rf"{_START}/(?:root|(?:home|Users){_PART})(?![\w.-])"), "~"),
    (re.compile(rf"{_START}(?!/(?:dev|proc|sys)/)(?:{_PART})+(?={_PART})"), "..."),
)
_FLAGS_OF_FOLDERS = frozenset({"--results", "--data-dir", "--weights"})


def portable_text(text: str) -> str:
    """Writes marks in place of folders, so that the text means the same on any machine.

    Args:
        text: A log or a reason.

    Returns:
        The text with ``<python>`` for the folder of Python's library, ``.`` for a checkout, ``~``
        for a home, and ``...`` for other folders; of a text that has none of them, itself.
    """
    for pattern, mark in _MARKS:
        text = pattern.sub(mark, text)
    return text


def portable_command(command: Sequence[str]) -> list[str]:
    """Leaves out the folders of one machine, and of other files all but the name.

    Args:
        command: A command line in its parts.

    Returns:
        The parts that mean the same elsewhere.
    """
    kept: list[str] = []
    for part in command:
        flag, equals, value = part.partition("=") if part.startswith("--") else ("", "", part)
        if not PurePosixPath(value).is_absolute():
            kept.append(part)
        elif flag in _FLAGS_OF_FOLDERS:
            continue
        # The flag without its folder would take the next word for it.
        elif not flag and kept and kept[-1] in _FLAGS_OF_FOLDERS:
            kept.pop()
        else:
            kept.append(f"{flag}{equals}{_name(value)}")
    return kept


def portable_record(record: AttemptRow) -> AttemptRow:
    """A record with the same values, without folders of the machine that it was made on."""
    return record.model_copy(
        update={
            "reason": _text(record.reason),
            "log_tail": _text(record.log_tail),
            "measurements": tuple(_measurement(m) for m in record.measurements),
            "provenance": dict(_provenance(record.provenance)),
        }
    )


def portable_check(check: CheckRow) -> CheckRow:
    """An outcome without folders of the machine; a plugin file goes by its name."""
    checks = tuple(
        {key: portable_text(v) if isinstance(v, str) else v for key, v in one.items()}
        for one in check.checks
    )
    return check.model_copy(update={"plugin": _name(check.plugin), "checks": checks})


def _measurement(measured: MeasurementRow) -> MeasurementRow:
    if measured.reason is None:
        return measured
    return measured.model_copy(update={"reason": portable_text(measured.reason)})


def _provenance(provenance: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in provenance.items():
        if key == "command" and isinstance(value, list | tuple):
            yield key, portable_command([str(part) for part in value])
        elif key == "plugins" and isinstance(value, Mapping):
            yield key, {_name(plugin): version for plugin, version in value.items()}
        else:
            yield key, value


def _text(text: str | None) -> str | None:
    return None if text is None else portable_text(text)


def _name(given: str) -> str:
    """The name of a file; what is not a whole path is a name already."""
    path = PurePosixPath(given)
    return path.name if path.is_absolute() else given
