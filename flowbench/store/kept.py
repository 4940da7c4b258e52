"""Attempts kept as text, small enough for git: ``<results>/kept/<name>.jsonl``, a line each.

A line holds the whole record, the learning curve and, where they are kept, samples in base64 and
the test log-likelihoods. What is only of use on the machine that ran (log, weights,
checkpoint) stays there.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import ValidationError

from flowbench.api.data import Artifact
from flowbench.api.frozen import Frozen
from flowbench.errors import StoreError
from flowbench.files import write_whole
from flowbench.store.artifacts import grid_as_artifacts
from flowbench.store.attempt_files import AttemptContents, first_line
from flowbench.store.records import AttemptRow, CurvePoint

FOLDER, SUFFIX = "kept", ".jsonl"
BY_LAYER = "log_determinant/"
CURVE_POINTS = 120  # what a curve of 360 px can show

Point = TypeVar("Point")


class _Artifact(Frozen):
    """An artifact; its bytes in base64."""

    name: str
    media_type: str
    content: str
    thumbnail: str | None = None


class _Line(Frozen):
    """An attempt on its line; a part that it has not, or that is not kept, is None."""

    record: AttemptRow
    curves: tuple[CurvePoint, ...] = ()
    artifacts: tuple[_Artifact, ...] = ()
    samples_png: str | None = None  # of earlier versions, which knew no artifacts
    log_prob: tuple[float, ...] | None = None


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Leaves out points of a curve evenly, so that what is left can be drawn.

    Args:
        points: The points in order.

    Returns:
        At most `CURVE_POINTS` of them, the last one among them.
    """
    step = -(-len(points) // CURVE_POINTS) or 1
    return points[::-step][::-1]  # counted from the end, so that the last point stays


def keep(results: Path, name: str, attempts: Iterable[AttemptContents]) -> Path:
    """Writes attempts as text, in the place of what was kept under that name.

    Args:
        results: The results folder to keep them in; created if need be.
        name: Name of the file.
        attempts: The attempts; curves are thinned.

    Returns:
        The file.

    Raises:
        StoreError: The folder cannot be written.
    """
    path = results / FOLDER / f"{name}{SUFFIX}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, "".join(f"{_text(contents)}\n" for contents in attempts))
    except OSError as exc:
        raise StoreError(
            f"cannot write {path}: {exc.strerror}; choose another folder with --out"
        ) from exc
    return path


def has_kept(results: Path) -> bool:
    """Whether a results folder has attempts that are kept as text."""
    return any(_files(results))


def kept_attempts(
    results: Path, report: Callable[[str], None], *, only: Path | None = None
) -> Iterator[AttemptContents]:
    """Reads the attempts that a results folder keeps as text.

    Args:
        report: Told, in one line each, of lines that cannot be read; they are left out.
        only: One of its files; by default all.

    Yields:
        The attempts by file, in the order of their lines.
    """
    for path in _files(results) if only is None else [only]:
        # Line by line: a merge conflict in one must not hide the others.
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                yield _contents(line)
            except (ValidationError, ValueError) as exc:
                report(f"{path}, line {number}: left out, not an attempt: {first_line(exc)}")


def _files(results: Path) -> list[Path]:
    return sorted((results / FOLDER).glob(f"*{SUFFIX}"))


def _text(contents: AttemptContents) -> str:
    values = contents.log_prob
    line = _Line(
        record=contents.record,
        curves=tuple(map(_of_few_layers, thinned(contents.curves))),
        artifacts=tuple(map(_as_text, contents.artifacts)),
        log_prob=None if values is None else tuple(values.tolist()),
    )
    # Through pydantic both ways: what could not be read back is not written.
    return line.model_dump_json()


def _as_text(artifact: Artifact) -> _Artifact:
    thumbnail = artifact.thumbnail
    return _Artifact(
        name=artifact.name,
        media_type=artifact.media_type,
        content=base64.b64encode(artifact.content).decode(),
        thumbnail=None if thumbnail is None else base64.b64encode(thumbnail).decode(),
    )


def _from_text(kept: _Artifact) -> Artifact:
    return Artifact(
        name=kept.name,
        media_type=kept.media_type,
        content=_bytes(kept.content),
        thumbnail=None if kept.thumbnail is None else _bytes(kept.thumbnail),
    )


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _of_few_layers(point: CurvePoint) -> CurvePoint:
    """With the least and the largest of what it says layer by layer: a deep flow has hundreds."""
    info = point.info or {}
    layers = sorted((name for name in info if name.startswith(BY_LAYER)), key=info.__getitem__)
    between = set(layers[1:-1])
    return point.model_copy(update={"info": {k: info[k] for k in info if k not in between} or None})


def _contents(text: bytes) -> AttemptContents:
    line = _Line.model_validate_json(text)
    artifacts = tuple(map(_from_text, line.artifacts))
    if line.samples_png is not None:
        artifacts = grid_as_artifacts(_bytes(line.samples_png))
    values = line.log_prob
    return AttemptContents(
        record=line.record,
        curves=line.curves,
        artifacts=artifacts,
        log_prob=None if values is None else np.asarray(values, dtype=np.float64),
    )
