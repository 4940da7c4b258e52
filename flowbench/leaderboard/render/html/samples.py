"""Samples small enough for a page with hundreds of rows; the store keeps them as they were."""

from __future__ import annotations

import base64
import io
from itertools import chain, repeat

from PIL import Image

from flowbench.api.data import Artifact

MAX_BYTES = 12_000
"""A row's samples; 16 kB once they are text."""

_MAX_ALL = 1_200_000  # of all rows, so that a page with 2,000 of them stays under 4 MB

_QUALITIES = (85, 60, 35)


_MAX_HEARD = 1_500_000  # bytes of all that can be heard on a page
MOST_HEARD = 4  # of a row
_MOST_TEXT = 2000  # characters


def room(num_rows: int) -> int:
    """How many bytes each recording of a page may have, by the number of rows with some."""
    return _MAX_HEARD // (MOST_HEARD * max(1, num_rows))


def recording(artifact: Artifact, max_bytes: int) -> str:
    """Writes a recording into a ``data:`` address; empty where it exceeds the limit."""
    if len(artifact.content) > max_bytes:
        return ""
    return f"data:{artifact.media_type};base64,{base64.b64encode(artifact.content).decode()}"


def text_of(artifact: Artifact) -> str:
    """What a text says, as far as a panel has room for it."""
    text = artifact.content.decode("utf-8", errors="replace")
    return text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + "…"


def limit(num_rows: int) -> int:
    """How many bytes each picture of a page may have, by the number of rows with samples."""
    return min(MAX_BYTES, _MAX_ALL // max(1, num_rows))


def address(png: bytes, max_bytes: int = MAX_BYTES) -> str:
    """Writes a picture into a ``data:`` address, made smaller where it exceeds the limit."""
    kind, content = shrunk(png, max_bytes)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def shrunk(png: bytes, max_bytes: int = MAX_BYTES) -> tuple[str, bytes]:
    """Makes a picture fit: as it is, or else in the best quality that does.

    Returns:
        Its kind, ``png`` or ``jpeg``, and its content.
    """
    if len(png) <= max_bytes:
        return "png", png
    with Image.open(io.BytesIO(png)) as image:
        picture = image.convert("RGB")
    for quality in chain(_QUALITIES, repeat(_QUALITIES[-1])):
        stream = io.BytesIO()
        picture.save(stream, format="JPEG", quality=quality, subsampling=0)
        if stream.tell() <= max_bytes or min(picture.size) == 1:
            break
        if quality == _QUALITIES[-1]:
            picture = picture.resize((picture.width // 2, picture.height // 2))
    return "jpeg", stream.getvalue()
