"""TOML or flags -> `Suite`. Errors name the key and the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from flowbench.api.protocol import MAX_SEED
from flowbench.errors import SuiteError, did_you_mean, first_problem, shortened
from flowbench.suite.find import find_suite, read_suite, run_by_rows
from flowbench.suite.schema import MAX_SEEDS, Suite


def load_suite(path: Path) -> Suite:
    """Reads a suite file.

    Args:
        path: A TOML file with the keys of `Suite`; overrides stand in a table ``set``. A suite is
            named after the file, or after the folder of a ``suite.toml``.

    Raises:
        SuiteError: The file cannot be read, is not TOML, or has a key or value that is not valid.
    """
    data = read_suite(path)
    # Shipped suites are all called `suite.toml`, each in a folder of its own.
    data.setdefault("name", path.parent.name if path.name == "suite.toml" else path.stem)
    # In TOML as on the command line: "0-2" is easier to read than a list.
    if isinstance(data.get("seeds"), str):
        try:
            data["seeds"] = parse_seeds(data["seeds"])
        except SuiteError as exc:
            raise SuiteError(f"suite file {str(path)!r}: {exc}") from exc
    overrides = data.pop("set", {})
    if not isinstance(overrides, Mapping):
        raise SuiteError(
            f"suite file {str(path)!r}: set: expected a table of models, got {overrides!r}; "
            "write [set.MODEL] and under it key = value"
        )
    data["overrides"] = dict(flatten(overrides))
    for several in ("grid", "sweep"):
        if isinstance(data.get(several), Mapping):
            data[several] = dict(flatten(data[several]))
    # The rows of the paper say what runs; to list it again would let the two drift apart.
    if isinstance(data.get("board"), Mapping) and data["board"].get("published"):
        models, datasets = run_by_rows(data)
        data = {"models": models, "datasets": datasets, **data}
    return build_suite(data, source=f"suite file {str(path)!r}")


def asked_suite(
    name: str | None,
    changes: Mapping[str, Any],
    *,
    overrides: Mapping[str, Sequence[Any]],
    protocol: Mapping[str, Any],
    source: str,
) -> Suite:
    """A suite changed by what somebody asks for, or made of that alone.

    Args:
        name: Its name or TOML file; None makes one of the changes.
        changes: Values in the place of the suite's, by the keys of `Suite`.
        overrides: Values of configs beside the suite's, by their dotted keys: of each one, or
            several for a grid.
        protocol: Values of the protocol in the place of the suite's.
        source: Where changes come from, for errors.

    Raises:
        SuiteError: It cannot be read, a key or value is not valid, or nothing is to run.
    """
    if name is None and "models" not in changes:
        raise SuiteError("nothing to run; give a suite or --models (flowbench list)")
    base: dict[str, Any] = load_suite(find_suite(name)).model_dump() if name else {}
    if "models" in changes and (base.get("board") or {}).get("published"):
        base["board"] = None  # other models than those of the paper's rows
    # Of several values the first as well: it keeps the place of its key among the others.
    firsts = {key: values[0] for key, values in overrides.items()}
    swept = changes.get("sweep", {})
    # What is named in another way is no longer what the suite has it.
    for part in ("overrides", "grid"):
        kept = base.get(part, {}).items()
        base[part] = {key: value for key, value in kept if key not in swept}
    grid = {key: values for key, values in base["grid"].items() if key not in overrides}
    grid |= {key: values for key, values in overrides.items() if len(values) > 1}
    changed = {
        **base,
        **changes,
        "overrides": {**base["overrides"], **firsts},
        "grid": grid,
    }
    if any(base.get("protocol", {}).get(key) != value for key, value in protocol.items()):
        # Of the suite, so that a request changes what it names and nothing else.
        changed["protocol"] = {**base.get("protocol", {}), **protocol}
        changed["protocols"] = {}  # it is for all data sets
    return build_suite(changed, source)


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
        raise SuiteError(f"{source}: {first_problem(exc)}{_hint(exc)}") from exc


def _hint(error: ValidationError) -> str:
    """Which key may have been meant, where the first problem is one that there is not."""
    problem = error.errors(include_url=False)[0]
    if problem["type"] != "extra_forbidden":
        return ""
    *places, key = problem["loc"]
    model: type[BaseModel] = Suite
    for place in places:
        field = model.model_fields.get(str(place))
        if field is not None:  # an index or a table's key leads into no other model
            kinds = (field.annotation, *get_args(field.annotation))
            models = (k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel))
            model = next(models, model)
    known = {"set", *model.model_fields} - {"overrides"} if model is Suite else model.model_fields
    return f"; {did_you_mean(str(key), known).strip()}"


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """The values of nested tables by their dotted keys; an empty table is a value."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parses ``0-2`` or ``0,3,7``.

    Args:
        text: Seeds and inclusive ranges, separated by commas.

    Returns:
        The seeds in order, each once.

    Raises:
        SuiteError: The text is neither, or a seed is too large, or there are too many.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        malformed = SuiteError(f"malformed seeds {shortened(text)}; expected e.g. 0, 0-2 or 0,3,7")
        if match is None:
            raise malformed
        first, last = _seed(match[1]), _seed(match[2] or match[1])
        if last < first:
            raise malformed
        if len(seeds) + last - first >= MAX_SEEDS:
            raise SuiteError(
                f"more than {MAX_SEEDS} seeds in {shortened(text)}; a suite has at most that many"
            )
        seeds += range(first, last + 1)
    # A seed twice is one job: its id is the same.
    return tuple(dict.fromkeys(seeds))


def _seed(digits: str) -> int:
    # Their number first: Python itself refuses to read thousands of them.
    seed = int(digits) if len(digits) <= len(str(MAX_SEED)) else MAX_SEED + 1
    if seed > MAX_SEED:
        raise SuiteError(f"seed {shortened(digits)} is too large; expected 0 to 2^63 - 1")
    return seed
