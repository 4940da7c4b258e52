"""Every error that flowbench raises on purpose.

::

    FlowbenchError
    ├── PluginError
    │   ├── PluginLoadError          an entry point or a plugin file does not load
    │   ├── DuplicateNameError       two distributions register one name
    │   ├── UnknownNameError         no plugin, preset, dataset, metric or suite of that name
    │   ├── PackageMissingError      a package of plugins that is not installed
    │   └── ContractError            a plugin breaks the contract of flowbench.api
    │       ├── ShapeError           a tensor of the wrong shape
    │       └── NotInvertibleError   an inverse that does not exist or did not converge
    ├── SuiteError                   a flag or a suite file that cannot be run
    │   └── ConfigError              a key or value that a configuration does not allow
    ├── ExecutorError                jobs that cannot be run where they were asked to
    ├── DataError                    a dataset that is missing, corrupt or not what its spec says
    │   └── DataMissingError         data that are not on this machine
    ├── TrainingError
    │   ├── NonFiniteLossError       too many steps in a row without a finite loss
    │   └── RankLostError            one of the processes of a job on several devices has ended
    ├── StoreError                   the results folder or its database
    │   ├── StoreDamagedError        a file of it that does not hold what was written
    │   └── StoreNewerError          a database that a later flowbench made
    └── LeaderboardError             a board that cannot be laid out

The command line prints any of these in one line and exits with 1. Every other exception is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

MAX_SHOWN = 80  # characters of a refused value in its error
BRIEF = 200  # characters of a reason where there are others; `flowbench results show` has all

_MOST_NAMES = 20  # what a line can list


class FlowbenchError(Exception):
    """Base of all errors that a user can cause and can mend."""


class PluginError(FlowbenchError):
    """A plugin that cannot be loaded, found or trusted."""


class PluginLoadError(PluginError):
    """An entry point or plugin file that does not load."""


class DuplicateNameError(PluginError):
    """Two distributions register one name."""


class UnknownNameError(PluginError):
    """No plugin, preset, dataset, metric or suite has this name."""


class PackageMissingError(PluginError):
    """Models of a suite come with a package that is not installed; the message names it."""


class ContractError(PluginError):
    """A plugin breaks the contract of `flowbench.api`."""


class ShapeError(ContractError):
    """A tensor does not have the shape that the contract states."""


class NotInvertibleError(ContractError):
    """An inverse was asked of a map that has none, or that did not converge."""


class SuiteError(FlowbenchError):
    """A flag or suite file that cannot be run."""


class ConfigError(SuiteError):
    """A key or value that a configuration does not allow."""


class ExecutorError(FlowbenchError):
    """Jobs that cannot be run where they were asked to."""


class DataError(FlowbenchError):
    """A dataset that is missing, corrupt or not what its spec says."""


class DataMissingError(DataError):
    """Data that are not on this machine; the message says how to get them."""


class TrainingError(FlowbenchError):
    """Training cannot go on."""


class NonFiniteLossError(TrainingError):
    """Too many optimizer steps in a row had no finite loss and gradient."""


class RankLostError(TrainingError):
    """One of the processes of a job on several devices has ended.

    Args:
        status: What the attempt's record says of it.
        reason: Which, and why, in one line.
    """

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class StoreError(FlowbenchError):
    """The results folder or its database cannot be read or written."""


class StoreDamagedError(StoreError):
    """A file of the results folder does not hold what was written into it."""


class StoreNewerError(StoreError):
    """A database that a later flowbench made."""


class LeaderboardError(FlowbenchError):
    """A board cannot be laid out or rendered."""


def unknown_name(kind: str, given: str, known: Iterable[str], see: str) -> str:
    """The one-line message of an `UnknownNameError`, with the nearest known name if there is one.

    Args:
        kind: What was looked for, e.g. ``"model"``.
        given: The name that is not known.
        known: All names that are.
        see: The command that lists them.

    Returns:
        The message.
    """
    return f"unknown {kind} {given!r}; {did_you_mean(given, known)}({see})"


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Names what may have been meant.

    Args:
        given: What the user wrote.
        known: All valid names.

    Returns:
        ``"did you mean 'x'? "``, else the first known names, sorted, else an empty string. The
        result ends in a space, so that a hint can follow.
    """
    names = sorted(set(known))
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}? "
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"known: {', '.join(names[:_MOST_NAMES])}{more} " if names else ""


def printable(text: str, limit: int = 500) -> str:
    r"""A foreign text in one line that can be stored and shown anywhere.

    Args:
        text: What a plugin, a file or an exception says.
        limit: Most characters that are kept; see `abridged`.

    Returns:
        The text with single spaces; control characters, lone surrogates and the like are replaced.

    Example:
        >>> printable("no file \udcff.png \n here")
        'no file \ufffd.png here'
    """
    words = " ".join(abridged(text, 8 * limit).split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)
    return abridged(line, limit)


def abridged(text: str, limit: int) -> str:
    """A text without its middle, if it has more characters than a limit.

    Errors begin with what is wrong and end with what to do next: a long path may cost neither.

    Example:
        >>> abridged("no weights in /data/of/a/long/name; run prepare", 35)
        'no weights in /data/o...run prepare'
    """
    if len(text) <= limit:
        return text
    end = limit // 3
    return f"{text[: limit - end - 3]}...{text[-end:]}"


def first_problem(
    error: ValidationError, named: Callable[[tuple[int | str, ...]], str] | None = None
) -> str:
    """Puts the first problem that pydantic found into one line.

    Args:
        error: What pydantic raised.
        named: Names the place of a problem, given its keys; by default they are joined by dots.

    Returns:
        ``"key: message, got value"``; of a place without a name, the message alone.
    """
    problem = error.errors(include_url=False)[0]
    key = ".".join(map(str, problem["loc"])) if named is None else named(problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    if not key:
        return message
    # What lacks a key is not what was refused, nor is all that a check of several keys looked at:
    # pydantic gives the whole mapping there.
    whole = problem["type"] == "value_error" and isinstance(problem["input"], Mapping)
    got = "" if whole or problem["type"] == "missing" else f", got {shortened(problem['input'])}"
    return f"{key}: {message}{got}"


def shortened(value: object) -> str:
    """A refused value as an error shows it, at most `MAX_SHOWN` characters of it."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def text_of(exc: BaseException, limit: int = 500) -> str:
    """What an exception says, in one `printable` line; of a group, what its first one says too.

    Args:
        exc: Any exception, also one whose text cannot be had.
        limit: Most characters that are kept.

    Returns:
        The line; empty for an exception without a text.
    """
    try:
        text = printable(str(exc), limit)
    except Exception as unsaid:  # the exception is a plugin's, and so is its __str__
        return f"its text cannot be had, __str__ raised {type(unsaid).__name__}"
    if isinstance(exc, BaseExceptionGroup):
        text = abridged(f"{text}: {reason_of(exc.exceptions[0], limit)}", limit)
    return text


def reason_of(exc: BaseException, limit: int = 500) -> str:
    r"""The type of an exception and what it says, in one `printable` line.

    Args:
        exc: Any exception.
        limit: Most characters of its text that are kept.

    Returns:
        The line.

    Example:
        >>> reason_of(ValueError("two\nlines"))
        'ValueError: two lines'
    """
    text, name = text_of(exc, limit), printable(type(exc).__name__, 100)
    return f"{name}: {text}" if text else name
