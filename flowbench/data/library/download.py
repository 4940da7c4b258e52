"""Gets a published file: resumed where it was cut, known by its hash, all of it or none.

Over urllib rather than a download library, because those that verify (pooch) cannot resume, and a
set of 12 GB that starts anew after each cut never arrives.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import Any

from flowbench.api.specs import RemoteFile
from flowbench.data.library.transfer import human_bytes, one_at_a_time, transfer
from flowbench.errors import DataError

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 60.0  # without a byte
HTML_HEAD = re.compile(rb"\s*<(!doctype\s+html|html|head)\b", re.IGNORECASE)


def fetch_file(file: RemoteFile, folder: Path, *, offline: bool = False, retry: str = "") -> Path:
    """Puts a published file into a folder, unless it is there already.

    Bytes go to ``<name>.part`` until all of them are there and have the right hash. Two processes
    at once wait for each other.

    Args:
        folder: Where it shall lie; made if need be.
        offline: Refuse to use the network.
        retry: The command that the messages name, e.g. ``"flowbench data prepare mnist"``.

    Raises:
        DataError: It cannot be had, or what came is not that file; the message says what to do.
    """
    path = folder / file.name
    again = retry or "the same command"

    with one_at_a_time(folder / f".{file.name}.lock", f"fetching {file.name}"):
        if path.is_file():
            check_file(file, path)
        else:
            _download(file, path, offline, again)
    return path


def check_file(file: RemoteFile, path: Path) -> str:
    """Holds a file to its published size and hash.

    Returns:
        SHA-256 of its bytes.

    Raises:
        DataError: It is another file.
    """
    sha256, md5 = _hashes(path)
    differs = _difference(file, path.stat().st_size, sha256, md5)
    # Last, since it unpacks the whole file: a copy that was packed anew has another hash and the
    # same content.
    if differs and file.content_sha256 and _content_hash(path) == file.content_sha256:
        return sha256
    if differs:
        raise DataError(f"{path} has {differs}; remove it and fetch the file again")
    return sha256


def _difference(file: RemoteFile, size: int, sha256: str, md5: str) -> str | None:
    if file.size_bytes is not None and size != file.size_bytes:
        return f"{size:,} bytes, {file.name} has {file.size_bytes:,}"
    for kind, given, wanted in (("SHA-256", sha256, file.sha256), ("MD5", md5, file.md5)):
        if wanted is not None and given != wanted:
            return f"{kind} {given[:16]}..., the published {file.name} has {wanted[:16]}..."
    return None


def _hashes(path: Path) -> tuple[str, str]:
    # Both in one pass: a file of 12 GB is read once.
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as source, transfer(f"checking {path.name}", path.stat().st_size) as tell:
        while block := source.read(BLOCK_BYTES):
            sha256.update(block)
            md5.update(block)
            tell(len(block))
    return sha256.hexdigest(), md5.hexdigest()


def _content_hash(path: Path) -> str:
    try:
        with gzip.open(path) as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except (EOFError, OSError, zlib.error) as exc:
        raise DataError(
            f"{path} is not a complete gzip file ({exc}); remove it and fetch the file again"
        ) from exc


def _download(file: RemoteFile, path: Path, offline: bool, again: str) -> None:
    if file.url is None:
        raise DataError(
            f"{file.name} has no address to download it from; get it by hand, then run "
            f"{_with_folder(again)}"
        )
    if offline:
        raise DataError(
            f"{file.name} is not in {path.parent} and --offline forbids to download it; fetch "
            f"{file.url} where there is a network, then run {_with_folder(again)}"
        )
    part = path.with_name(f"{path.name}.part")
    _receive(file, file.url, part, again)
    try:
        check_file(file, part)
    except DataError as exc:
        part.unlink()
        _validator_file(part).unlink(missing_ok=True)
        # Without its own advice, which speaks of a file that is gone by now.
        given = str(exc).removeprefix(f"{part} ").partition("; ")[0]
        raise DataError(
            f"what {file.url} gave {given}; it was removed, run {again} to try once more, or give "
            "the right file by --from"
        ) from exc
    part.replace(path)
    _validator_file(part).unlink(missing_ok=True)


def _with_folder(again: str) -> str:
    """The command with a folder of files that the user has, if it does not name one already."""
    return again if " --from " in again else f"{again} --from FOLDER"


def _receive(file: RemoteFile, url: str, part: Path, again: str) -> None:
    """Appends to ``part`` what is still missing.

    Raises:
        DataError: The connection failed or was cut, or something else than the file came.
    """
    try:
        with _open(url, part, file) as response:
            first = response.read1(BLOCK_BYTES)
            _refuse_page(response, first, file, url)
            _append(response, first, part, _start(response, part), file, again)
    except urllib.error.HTTPError as exc:
        exc.close()
        if exc.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and part.is_file():
            return  # all of it is here, or too much: the check will tell
        raise DataError(
            f"{url} answers {exc.code} {exc.reason}; {file.name} may have moved: get it by hand, "
            f"then run {_with_folder(again)}"
        ) from exc
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as exc:
        reason = getattr(exc, "reason", None) or str(exc) or type(exc).__name__
        kept = f"; {human_bytes(part.stat().st_size)} are kept" if part.is_file() else ""
        raise DataError(
            f"the connection to {url} failed ({reason}){kept}; run {again} to go on"
        ) from exc
    except OSError as exc:
        raise DataError(
            f"cannot write {part} ({exc.strerror}); choose another folder by --data-dir"
        ) from exc


def _open(url: str, part: Path, file: RemoteFile) -> Any:
    # Bytes as they are: a server that compresses on the way would spoil sizes and ranges.
    headers = {"User-Agent": "flowbench", "Accept-Encoding": "identity"}
    here = part.stat().st_size if part.is_file() else 0
    validator = _validator_file(part)
    if here and validator.is_file():
        # If the file changed meanwhile, the server sends all of it instead of a rest that does not
        # fit.
        headers |= {"Range": f"bytes={here}-", "If-Range": validator.read_text(encoding="utf-8")}
    elif here and (file.sha256 or file.md5):  # pieces of two versions would not pass the check
        headers["Range"] = f"bytes={here}-"
    # `urlopen` would also open file: and ftp:, and a spec is somebody else's text.
    if not url.startswith(("https://", "http://")):
        raise DataError(f"{url} is not a web address; expected https://")
    request = urllib.request.Request(url, headers=headers)
    return urllib.request.urlopen(request, timeout=TIMEOUT_S)


def _refuse_page(response: Any, first: bytes, file: RemoteFile, url: str) -> None:
    """Refuses a web page in the place of a file, before anything of it is kept.

    Raises:
        DataError: It is one.
    """
    # Some servers call a login page application/octet-stream.
    whole = response.status != http.client.PARTIAL_CONTENT
    is_page = response.headers.get_content_type() == "text/html" or (
        whole and HTML_HEAD.match(first)
    )
    if is_page and not file.name.endswith(".html"):
        raise DataError(
            f"{url} gave a web page instead of {file.name}; open it in a browser (a login or a "
            "licence to accept?), then give the file by --from FOLDER"
        )


def _start(response: Any, part: Path) -> int:
    """Where the body begins in the file; a server may ignore that only the rest was asked for."""
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
    # A weak one stands for files that are alike, not for the same bytes.
    if validator and not validator.startswith("W/"):
        _validator_file(part).write_text(validator, encoding="utf-8")
    # It sends all of it, so what is here is overwritten.
    if response.status != http.client.PARTIAL_CONTENT:
        return 0
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(start[1]) if start else part.stat().st_size


def _append(
    response: Any, block: bytes, part: Path, start: int, file: RemoteFile, again: str
) -> None:
    length = response.headers.get("Content-Length")
    # The length is that of what is still to come.
    total = None if length is None else start + int(length)
    received = start
    with (
        part.open("r+b" if start else "wb") as target,
        transfer(f"downloading {file.name}", total or file.size_bytes, start) as tell,
    ):
        # What lies behind the place where the server goes on is from an earlier try.
        target.truncate(start)
        target.seek(start)
        while block:
            target.write(block)
            received += len(block)
            tell(len(block))
            # read1 gives what has come: bytes before a cut are written, not lost with the block.
            block = response.read1(BLOCK_BYTES)
        target.flush()
        # On the disk before it gets its name: a power cut must not leave a whole name on half a
        # file.
        os.fsync(target.fileno())
    # urllib ends the body without an error when the connection is cut.
    if total is not None and received < total:
        raise DataError(
            f"the connection was cut after {human_bytes(received)} of {human_bytes(total)} of "
            f"{file.name}; what came is kept, run {again} to go on"
        )


def _validator_file(part: Path) -> Path:
    """Holds the server's word for the version of the file that ``part`` is a piece of."""
    return part.with_name(f"{part.name}.etag")
