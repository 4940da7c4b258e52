"""Reads what a worker left in an attempt's directory.

``record.json`` is written last, so a directory without one belongs to an attempt that still runs or
was lost on the way. The other files are optional: one that cannot be read is a problem to report,
not a reason to lose the record.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from flowbench.api.data import Artifact
from flowbench.errors import StoreError, first_problem
from flowbench.files import write_whole
from flowbench.store.artifacts import ARTIFACTS, read_artifacts
from flowbench.store.records import RECORD_VERSION, AttemptRow, CurvePoint

RECORD = "record.json"
CURVES = "curves.jsonl"
LIKELIHOODS = "likelihoods.npz"
MOST_BYTES = 64 << 20  # of a record; a large one has some hundred kilobytes

_SUM = b',\n "sha256": "%s"\n}\n'
_SUM_OF = re.compile(rb',\s*"sha256": "(\w{64})"\s*}\s*$')
_CURVES = TypeAdapter(tuple[CurvePoint, ...])


@dataclass(frozen=True, kw_only=True, eq=False)
class AttemptContents:
    """Everything one attempt left behind, in its directory or in the store.

    Attributes:
        curves: Validations during training, in order.
        artifacts: Samples as people look at or listen to them, if the model can draw any.
        log_prob: Log-likelihood of each test example in nats, shape (N,), if it has one.
        problems: Parts that could not be read, one line each.
    """

    record: AttemptRow
    curves: tuple[CurvePoint, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    log_prob: NDArray[np.float64] | None = None
    problems: tuple[str, ...] = ()


def is_number(name: str) -> bool:
    """Whether a name is that of an attempt's folder: a number as the database can hold it.

    Example:
        >>> [name for name in ("1", "20", "01", "²", "9" * 20, "notes") if is_number(name)]
        ['1', '20']
    """
    return name.isascii() and name.isdigit() and len(name) < 10 and not name.startswith("0")


def attempt_dirs(results: Path) -> Iterator[Path]:
    """All attempt directories with a record, sorted by job and attempt."""
    for record in sorted((results / "runs").glob(f"*/*/{RECORD}")):
        yield record.parent


def read_attempt(directory: Path) -> AttemptContents:
    """Reads one attempt's directory.

    Args:
        directory: ``results/runs/<job_id>/<number>``.

    Returns:
        Its contents; optional files that are damaged are left out and named in ``problems``.

    Raises:
        StoreError: There is no record, or it is not one that this version can read.
    """
    # The record alone is indispensable: without it nobody knows whose curves and samples these are.
    record = read_record(directory / RECORD)
    if directory.parts[-2:] != (record.job.job_id, str(record.number)):
        raise StoreError(
            f"{directory / RECORD}: is of attempt {record.attempt_id}, which has another folder"
        )
    parts: dict[str, object] = {}
    problems = []
    for key, name, read in (
        ("curves", CURVES, read_curves),
        ("artifacts", ARTIFACTS, read_artifacts),
        ("log_prob", LIKELIHOODS, _read_log_prob),
    ):
        path = directory / name
        try:
            parts[key] = read(path)
        except FileNotFoundError:
            # Most models draw no grid, and an attempt that failed early has no curve.
            continue
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as exc:
            problems.append(f"{path}: left out, {first_line(exc)}")
    return AttemptContents(record=record, problems=tuple(problems), **parts)  # type: ignore[arg-type]


def write_record(path: Path, record: AttemptRow) -> None:
    """Writes a record with a checksum, so that it is on the disk before its name is."""
    body = record.model_dump_json(indent=1).encode().removesuffix(b"\n}")
    write_whole(path, body + _SUM % sha256(body).hexdigest().encode(), sync=True)


def read_record(path: Path) -> AttemptRow:
    """Reads a record.

    Args:
        path: A file of `write_record`, or of an earlier version, which kept no checksum.

    Raises:
        StoreError: It is missing, damaged, larger than any record, or of a newer version.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise StoreError(f"{path}: not a record, it has more than {MOST_BYTES:,} bytes")
        content = path.read_bytes()
    except OSError as exc:
        raise StoreError(f"{path}: cannot be read, {exc.strerror}") from exc
    if (found := _SUM_OF.search(content)) is not None:
        body = content[: found.start()]
        if sha256(body).hexdigest().encode() != found[1]:
            raise StoreError(f"{path}: not a record, it is not what was written (checksum)")
        content = body + b"\n}"
    try:
        return AttemptRow.model_validate_json(content)
    except ValidationError as exc:
        if (version := _version(content)) > RECORD_VERSION:
            raise StoreError(
                f"{path}: a record of version {version}, this flowbench reads versions up to "
                f"{RECORD_VERSION}; upgrade flowbench"
            ) from exc
        raise StoreError(f"{path}: not a record, {first_line(exc)}") from exc


def _version(content: bytes) -> int:
    """The version that a text states as its record's; 0 if it does not."""
    try:
        return int(json.loads(content)["record_version"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0


def read_curves(path: Path) -> tuple[CurvePoint, ...]:
    """Validations in a file, in order.

    Raises:
        OSError: There is no such file, or it cannot be read.
        ValueError: A line is damaged.
    """
    # As one array: pydantic is called once, and not for each line.
    lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    return _CURVES.validate_json(b"[" + b",".join(lines) + b"]")


def _read_log_prob(path: Path) -> NDArray[np.float64]:
    # A results folder may come from somebody else, and pickles run code.
    with np.load(path, allow_pickle=False) as arrays:
        log_prob = np.asarray(arrays["test"], dtype=np.float64)
    if log_prob.ndim != 1 or not log_prob.size or not np.isfinite(log_prob).all():
        raise ValueError("expected finite log-likelihoods of shape (N,) under the name 'test'")
    return log_prob


def first_line(exc: Exception) -> str:
    """Why something could not be read, in one line: of a validation its first problem."""
    if isinstance(exc, ValidationError):
        return first_problem(exc)
    return str(exc).splitlines()[0] if str(exc) else type(exc).__name__
