"""Bundles: results that somebody sends to a board that many fill, as text, for a pull request.

A bundle is a folder::

    bundle.json           whose it is, and size and SHA-256 of every other file
    kept/<name>.jsonl     attempts, as `flowbench.store.kept` writes them
    checks/model/*.json   contract checks of their models
    plugins/*.py          plugin files that the attempts had: code, which nothing here runs

It is a results folder of its own: boards are made from it as from any other. It comes from somebody
else, so nothing of it is read before names, sizes and hashes are what ``bundle.json`` says. That
they are says only that it is whole; whether its numbers are true, another run of its jobs tells.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from flowbench.api.frozen import Frozen
from flowbench.errors import StoreError
from flowbench.files import write_whole
from flowbench.store.attempt_files import AttemptContents, first_line
from flowbench.store.checks import FOLDER as CHECKS
from flowbench.store.checks import CheckRow, write_check
from flowbench.store.kept import FOLDER as KEPT
from flowbench.store.kept import keep, kept_attempts
from flowbench.store.records import AttemptRow

MANIFEST, VERSION = "bundle.json", 1
MOST_FILES = 1_000
MOST_BYTES = 64 << 20  # of a file; a suite's attempts have some hundred kilobytes
MOST_BYTES_OF_ALL = 256 << 20
PLUGINS = "plugins"
SUBMISSION = "submission"
"""In the provenance of an attempt that came in a bundle: whose, which, and how it stands."""

ID_CHARS = 12  # of a bundle's hash, where it is shown

_NAME = r"^[A-Za-z0-9][\w.-]{0,63}$"
_FILE = re.compile(
    rf"{KEPT}/\w[\w.-]*\.jsonl|{CHECKS}/(?:model|dataset|metric)/\w[\w.@-]*\.json|"
    rf"{PLUGINS}/[A-Za-z_]\w*\.py",
    re.ASCII,
)
_HASH = r"^[0-9a-f]{64}$"


def _flowbench() -> str:
    return metadata.version("flowbench")


Verdict = Literal["verified", "contradicted", "not rerun"]


class FileFacts(Frozen):
    """What a file of a bundle is held to."""

    sha256: Annotated[str, Field(pattern=_HASH)]
    num_bytes: Annotated[int, Field(ge=0)]


class Manifest(Frozen):
    """``bundle.json``.

    Attributes:
        bundle_version: Of this schema.
        name: Of the bundle: letters, digits, dots, dashes and underscores.
        by: Who submits it, as they call themselves.
        flowbench: The version that wrote it.
        files: Every other file, by its path in the bundle.
    """

    bundle_version: int = VERSION
    name: Annotated[str, Field(pattern=_NAME)]
    by: Annotated[str, Field(max_length=200)] = ""
    flowbench: str = Field(default_factory=_flowbench)
    files: dict[str, FileFacts]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle whose files are what it says.

    Attributes:
        path: Its folder.
        sha256: Hash of ``bundle.json``, and so of everything in it.
        attempts: What it holds, by row and seed.
        plugin_files: Code that it brings.
    """

    path: Path
    manifest: Manifest
    sha256: str
    attempts: tuple[AttemptContents, ...]
    plugin_files: tuple[Path, ...]

    @property
    def id(self) -> str:
        """How its hash begins."""
        return self.sha256[:ID_CHARS]


class VerifiedRow(Frozen):
    """What became of a row that was to be measured again.

    Attributes:
        row: Model, preset, data and budget, in words.
        attempts: The attempts that it is made of.
        verdict: ``not rerun`` where nothing can be said.
        why: What agrees, what does not, or why nothing was run.
    """

    row: str
    attempts: tuple[str, ...]
    verdict: Verdict
    why: str


class Verification(Frozen):
    """The outcome of ``flowbench results verify``, kept by those who keep the board.

    Attributes:
        bundle: Hash of the bundle: of a changed one it says nothing.
        name: Its name.
        flowbench: The version that ran it again.
        device: What on.
        rows: An outcome for each row.
    """

    bundle: Annotated[str, Field(pattern=_HASH)]
    name: str
    flowbench: str = Field(default_factory=_flowbench)
    device: str
    rows: tuple[VerifiedRow, ...]


def is_bundle(path: Path) -> bool:
    """Whether a folder says that it is a bundle."""
    return (path / MANIFEST).is_file()


def write_bundle(
    path: Path,
    *,
    name: str,
    by: str,
    attempts: Iterable[AttemptContents],
    checks: Iterable[CheckRow],
    plugin_files: Mapping[str, bytes],
) -> Bundle:
    """Writes a bundle, whole or not at all.

    Args:
        path: Its folder, which does not exist.
        plugin_files: Content by name.

    Raises:
        StoreError: The folder is there or cannot be written, or the name is none.
    """
    if path.exists():
        raise StoreError(f"{path} is there already; remove it, or choose another with --out")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".bundle-") as scratch:
            part = Path(scratch) / path.name
            keep(part, name, attempts)
            for check in checks:
                write_check(part, check)
            for file, content in plugin_files.items():
                (part / PLUGINS).mkdir(exist_ok=True)
                (part / PLUGINS / file).write_bytes(content)
            found = {file: _facts(part / file) for file in sorted(_files(part))}
            manifest = Manifest(name=name, by=by, files=found)
            (part / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", "utf-8")
            read_bundle(part)  # what could not be read is not sent
            part.replace(path)
    except ValidationError as exc:
        raise StoreError(f"no bundle {name!r} by {by!r}: {first_line(exc)}") from exc
    except OSError as exc:
        raise StoreError(f"cannot write {path}: {exc.strerror}; choose another --out") from exc
    return read_bundle(path)


def read_bundle(path: Path) -> Bundle:
    """Reads a bundle, and holds each file to its size and hash before it looks into it.

    Raises:
        StoreError: It is no bundle, of a newer version, or not what its list says.
    """
    text = _manifest_text(path)
    manifest = _manifest(path, text)
    for file in manifest.files:
        if not _FILE.fullmatch(file):
            raise StoreError(f"{path}: its list names {file[:80]!r}, which is no file of a bundle")
    there = set(_files(path)) - {MANIFEST}
    if missing := sorted(manifest.files.keys() - there):
        raise StoreError(f"{path}: {missing[0]} is missing; the bundle was cut short")
    if more := sorted(there - manifest.files.keys()):
        raise StoreError(f"{path}: {more[0]} is not in its list; submit the bundle anew")
    for file, facts in manifest.files.items():
        if _facts(path / file) != facts:
            raise StoreError(
                f"{path}: {file} is not what was submitted (SHA-256); submit the bundle anew"
            )
    return Bundle(
        path=path,
        manifest=manifest,
        sha256=hashlib.sha256(text).hexdigest(),
        attempts=_attempts(path),
        plugin_files=tuple(path / f for f in manifest.files if f.startswith(f"{PLUGINS}/")),
    )


def _manifest_text(path: Path) -> bytes:
    file = path / MANIFEST
    try:
        if file.is_symlink() or not file.is_file():
            raise StoreError(f"{path} is no bundle: it has no file {MANIFEST}")
        if file.stat().st_size > MOST_BYTES:
            raise StoreError(f"{file} has more than {MOST_BYTES:,} bytes; it is no bundle's")
        return file.read_bytes()
    except OSError as exc:
        raise StoreError(f"{file} cannot be read: {exc.strerror}") from exc


def _manifest(path: Path, text: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as exc:
        # Of a newer version other keys than the one are to be expected.
        stated = re.search(rb'"bundle_version":\s*(\d{1,9})\b', text)
        if stated and int(stated[1]) > VERSION:
            raise _newer(path, int(stated[1])) from exc
        raise StoreError(f"{path / MANIFEST} is damaged: {first_line(exc)}") from exc
    if manifest.bundle_version > VERSION:
        raise _newer(path, manifest.bundle_version)
    return manifest


def _newer(path: Path, version: int) -> StoreError:
    return StoreError(
        f"{path} is a bundle of version {version}, this flowbench reads versions up to {VERSION}; "
        "upgrade flowbench"
    )


def _files(path: Path) -> Iterator[str]:
    """Paths of all files in a bundle; it is left at the first that none should have.

    Raises:
        StoreError: There is a link, something else than a file, a huge one, or too many.
    """
    num = total = 0
    for folder, folders, names in os.walk(path):
        for entry in [Path(folder) / name for name in (*folders, *names)]:
            status = entry.lstat()
            num, total = num + 1, total + status.st_size
            file = entry.relative_to(path).as_posix()
            if num > MOST_FILES:
                raise StoreError(f"{path} has more than {MOST_FILES:,} files; it is no bundle")
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                raise StoreError(f"{path}: {file[:80]!r} is a link or no plain file")
            if status.st_size > MOST_BYTES or total > MOST_BYTES_OF_ALL:
                raise StoreError(
                    f"{path} is too large: at most {MOST_BYTES:,} bytes are read of a file (here "
                    f"{file[:80]!r}), {MOST_BYTES_OF_ALL:,} of all"
                )
            if stat.S_ISREG(status.st_mode):
                yield file


def _facts(file: Path) -> FileFacts:
    with file.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    return FileFacts(sha256=digest, num_bytes=file.stat().st_size)


def _attempts(path: Path) -> tuple[AttemptContents, ...]:
    def refuse(problem: str) -> None:
        newer = "; upgrade flowbench, or submit the bundle anew" * ("record_version" in problem)
        raise StoreError(problem.replace("left out, ", "") + newer)

    found = tuple(kept_attempts(path, refuse))
    ids = [contents.record.attempt_id for contents in found]
    if not found:
        raise StoreError(f"{path} holds no attempts; submit the bundle anew")
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise StoreError(f"{path} holds {twice} twice; submit the bundle anew")
    return found


# --- what those who keep a board say of bundles ---------------------------------------------------


def write_verification(folder: Path, found: Verification) -> Path:
    """Keeps an outcome under the bundle's hash.

    Raises:
        StoreError: The folder cannot be written.
    """
    path = folder / f"{found.name}-{found.bundle[:ID_CHARS]}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, found.model_dump_json(indent=1) + "\n")
    except OSError as exc:
        raise StoreError(f"cannot write {path}: {exc.strerror}") from exc
    return path


def read_verifications(folder: Path) -> dict[str, Verification]:
    """All outcomes in a folder, by the hash of the bundle.

    Raises:
        StoreError: One is none.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            one = Verification.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as exc:
            raise StoreError(f"{path} is no outcome of `results verify`: {exc}") from exc
        found[one.bundle] = one
    return found


def precedence(found: Verification | None) -> int:
    """In what order bundles are taken in: verified ones first, contradicted ones last."""
    verdicts = {row.verdict for row in found.rows} if found else set()
    if "contradicted" in verdicts:
        return 2
    return 0 if "verified" in verdicts else 1


def take_in(results: Path, bundle: Bundle, verification: Verification | None) -> tuple[int, int]:
    """Brings a bundle's attempts into a results folder, each marked with how it stands.

    What the records say of that themselves is overwritten. An attempt at a job that the folder has
    is left out: what stands there is not to be replaced from outside.

    Args:
        results: The results folder; created if need be.
        verification: What is known of the bundle; None if it was not run again.

    Returns:
        How many attempts were brought, and how many were known.

    Raises:
        StoreError: The folder cannot be written.
    """
    name = f"{bundle.manifest.name}-{bundle.id}"
    known = set(_jobs(results, name))
    new = [c for c in bundle.attempts if c.record.job.job_id not in known]
    rows = verification.rows if verification and verification.bundle == bundle.sha256 else ()
    of_row = {attempt: row for row in rows for attempt in row.attempts}
    marked = (
        replace(c, record=_submitted(c.record, bundle, of_row.get(c.record.attempt_id)))
        for c in new
    )
    if new:
        keep(results, name, marked)
    for check in (file for file in bundle.manifest.files if file.startswith(f"{CHECKS}/")):
        if not (results / check).exists():
            (results / check).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path / check, results / check)
    return len(new), len(bundle.attempts) - len(new)


def _jobs(results: Path, but: str) -> Iterator[str]:
    """Jobs that a results folder has, one file of kept text aside."""
    if (results / "runs").is_dir():
        yield from (path.name for path in (results / "runs").iterdir())
    for path in sorted((results / KEPT).glob("*.jsonl")):
        if path.stem != but:
            for contents in kept_attempts(results, lambda _: None, only=path):
                yield contents.record.job.job_id


def _submitted(record: AttemptRow, bundle: Bundle, row: VerifiedRow | None) -> AttemptRow:
    said: dict[str, Any] = {
        "bundle": bundle.sha256,
        "name": bundle.manifest.name,
        "by": bundle.manifest.by,
        "standing": "verified" if row and row.verdict == "verified" else "self-reported",
        "why": f"{row.verdict}: {row.why}" if row else "",
    }
    provenance: Mapping[str, Any] = {**record.provenance, SUBMISSION: said}
    return record.model_copy(update={"provenance": provenance})


def standing(records: Sequence[AttemptRow]) -> str:
    """How the runs of a row stand: ``verified``, ``self-reported``, or nothing for own ones."""
    found = {_standing(record) for record in records}
    return next((s for s in ("self-reported", "verified") if s in found), "")


def _standing(record: AttemptRow) -> str:
    said = record.provenance.get(SUBMISSION)
    return str(said.get("standing")) if isinstance(said, Mapping) else ""
