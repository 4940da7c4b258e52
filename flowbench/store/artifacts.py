"""Samples as people look at or listen to them: files in an attempt's folder, and an index of them.

``artifacts/index.json`` names them in order; each has a file of its own, so that it can be opened
without flowbench.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import TypeAdapter

from flowbench.api.data import Artifact
from flowbench.api.frozen import Frozen
from flowbench.errors import ContractError, printable
from flowbench.files import write_whole

ARTIFACTS, INDEX = "artifacts", "index.json"
GRID = "samples.png"  # in attempts of earlier versions, which knew no artifacts
MOST, MOST_BYTES = 64, 32 << 20  # of an attempt
MEDIA_TYPE = re.compile(r"(image|audio|text)/[a-z0-9][a-z0-9.+-]{0,60}")

_PNG = b"\x89PNG\r\n\x1a\n"


class _Entry(Frozen):
    """An artifact's files, and what they are."""

    name: str
    media_type: str
    file: str
    thumbnail: str | None = None


_INDEX = TypeAdapter(tuple[_Entry, ...])


def checked_artifacts(returned: object) -> tuple[Artifact, ...]:
    """Takes what a dataset's ``render`` returned.

    Returns:
        The artifacts.

    Raises:
        ContractError: They cannot be kept; says what was returned, and what to return.
    """
    if not isinstance(returned, list | tuple) or not all(isinstance(a, Artifact) for a in returned):
        raise ContractError(
            f"render returned {printable(repr(returned), 80)}; return a list of Artifact"
        )
    found: tuple[Artifact, ...] = tuple(returned)
    for artifact in found:
        problem = _problem(artifact)
        if problem is not None:
            raise ContractError(
                f"render: artifact {printable(str(artifact.name), 40)!r}: {problem}"
            )
    size = sum(len(a.content) + len(a.thumbnail or b"") for a in found)
    if len(found) > MOST or size > MOST_BYTES:
        raise ContractError(
            f"render returned {len(found)} artifacts of {size:,} bytes; at most {MOST} of "
            f"{MOST_BYTES:,} bytes are kept"
        )
    return found


def _problem(artifact: Artifact) -> str | None:
    name = artifact.name
    if not (isinstance(name, str) and 0 < len(name) <= 80 and name.isprintable()):
        return "its name is no printable text of up to 80 characters"
    if not isinstance(artifact.media_type, str) or not MEDIA_TYPE.fullmatch(artifact.media_type):
        given = printable(str(artifact.media_type), 40)
        return f"its media type is {given!r}; give one of image, audio or text, e.g. audio/wav"
    if not isinstance(artifact.content, bytes):
        return "its content is not bytes"
    if artifact.media_type == "image/png" and not artifact.content.startswith(_PNG):
        return "its content is not a PNG image"
    if artifact.thumbnail is not None and not (
        isinstance(artifact.thumbnail, bytes) and artifact.thumbnail.startswith(_PNG)
    ):
        return "its thumbnail is not a PNG image"
    return None


def write_artifacts(attempt: Path, artifacts: Iterable[Artifact]) -> None:
    """Writes them into an attempt's folder.

    Args:
        attempt: The folder.
        artifacts: Checked ones.
    """
    folder = attempt / ARTIFACTS
    folder.mkdir(exist_ok=True)
    entries = []
    for position, artifact in enumerate(artifacts):
        kind = artifact.media_type
        # Python has no ending for audio/wav and others, which are called as their type is.
        suffix = mimetypes.guess_extension(kind) or f".{kind.rpartition('/')[2]}"
        # Numbered: of a name, only what every file system takes can be in that of a file.
        stem = f"{position:02d}-{re.sub('[^a-zA-Z0-9]+', '-', artifact.name).strip('-')[:40]}"
        file, thumbnail = f"{stem}{suffix}", f"{stem}.thumbnail.png"
        write_whole(folder / file, artifact.content)
        if artifact.thumbnail is not None:
            write_whole(folder / thumbnail, artifact.thumbnail)
        entries.append(
            _Entry(
                name=artifact.name,
                media_type=artifact.media_type,
                file=file,
                thumbnail=None if artifact.thumbnail is None else thumbnail,
            )
        )
    # Last: an index names no file that is not there.
    write_whole(folder / INDEX, _INDEX.dump_json(tuple(entries), indent=1))


def read_artifacts(folder: Path) -> tuple[Artifact, ...]:
    """Reads those of an attempt.

    Args:
        folder: Where `write_artifacts` put them.

    Raises:
        FileNotFoundError: There are none.
        OSError: A file cannot be read.
        ValueError: The index is damaged, or a file is missing or not what it says.
    """
    if not folder.is_dir():
        return grid_as_artifacts((folder.parent / GRID).read_bytes())
    found = []
    for entry in _INDEX.validate_json((folder / INDEX).read_bytes()):
        # A results folder may come from somebody else: nothing outside it is read.
        files = [name for name in (entry.file, entry.thumbnail) if name is not None]
        if any(Path(name).name != name or not (folder / name).is_file() for name in files):
            raise ValueError(f"artifact {entry.name!r} names a file that is not in its folder")
        found.append(
            Artifact(
                name=entry.name,
                media_type=entry.media_type,
                content=(folder / entry.file).read_bytes(),
                thumbnail=(folder / entry.thumbnail).read_bytes() if entry.thumbnail else None,
            )
        )
    try:
        return checked_artifacts(found)
    except ContractError as exc:
        raise ValueError(str(exc)) from exc


def grid_as_artifacts(png: bytes) -> tuple[Artifact, ...]:
    """The grid of samples, as an artifact.

    Args:
        png: The image.

    Raises:
        ValueError: It is no PNG image.
    """
    if not png.startswith(_PNG):
        raise ValueError(f"{GRID} is not a PNG image")
    return (Artifact(name="samples", media_type="image/png", content=png),)
