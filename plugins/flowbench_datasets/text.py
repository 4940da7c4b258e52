"""Text in 27 characters, space and the letters a to z, cut into windows: text8, and Python's own.

References:
    Mahoney (2006), Large Text Compression Benchmark, https://mattmahoney.net/dc/textdata.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flowbench.api import Artifact, DataError, DatasetInfo, DataSplits, Samples, Split
from flowbench.api.readers import open_archive
from flowbench.api.specs import SplitName

WINDOW = 256
CHARACTERS = " abcdefghijklmnopqrstuvwxyz"
NUM_CHARACTERS = len(CHARACTERS)
NUM_SHOWN = 4  # samples on a board
ARCHIVE, MEMBER = "text8.zip", "text8"
SHARE = 20  # of the characters, one part is validation and one test
PIECE = 1 << 24  # characters of a piece of a split
DIGITS = "zero one two three four five six seven eight nine".split()
TOPICS = {"train": 900, "validation": 100, "test": 100}
"""Windows of Python's topics: fewer than any version since 3.11 has."""


def convert_text8(files: Mapping[str, Path]) -> Iterator[tuple[SplitName, Split]]:
    """text8: the first 90 % of the characters to train, 5 % each to validate and to test.

    Args:
        files: Path of the archive.

    Yields:
        Windows of 256 characters, in order; what does not fill one at the end of a split is left.

    Raises:
        DataError: The archive is damaged, or holds other characters.
    """
    path = files[ARCHIVE]
    with open_archive(path) as archive:
        text = np.frombuffer(archive.read(archive.find(MEMBER)), dtype=np.uint8)
    tokens = _tokens(text, str(path))
    part = len(tokens) // SHARE
    cut = len(tokens) - 2 * part
    spans: dict[SplitName, tuple[int, int]] = {
        "train": (0, cut),
        "validation": (cut, cut + part),
        "test": (cut + part, len(tokens)),
    }
    for split, (start, end) in spans.items():
        for first in range(start, end - WINDOW + 1, PIECE):
            yield split, Split(x=windows(tokens[first : min(first + PIECE, end)]))


def load_topics(data_dir: Path) -> DataSplits:
    """Reads the chapters on Python's language that the interpreter's own help shows.

    Args:
        data_dir: Not used; nothing is downloaded.

    Returns:
        Windows of 256 characters, those of the last chapters to test.

    Raises:
        DataError: This interpreter comes without them.
    """
    del data_dir
    try:
        from pydoc_data.topics import topics
    except ImportError as exc:
        raise DataError(
            "python-topics is the text of Python's help(), which this interpreter comes without "
            "(pydoc_data); take one that has its whole standard library, or text8"
        ) from exc
    # Once each: chapters quote one another, and no paragraph may be in two splits.
    paragraphs = dict.fromkeys(
        part for name in sorted(topics) for part in re.split(r"\n\s*\n", topics[name])
    )
    text = normalised("\n".join(paragraphs)).encode("ascii")
    found = windows(_tokens(np.frombuffer(text, dtype=np.uint8), "pydoc_data"))
    if len(found) < sum(TOPICS.values()):
        raise DataError(
            f"this interpreter's pydoc_data fills {len(found):,} windows of {WINDOW} characters, "
            f"expected {sum(TOPICS.values()):,}; take Python 3.11 or later, or text8"
        )
    starts = np.cumsum([0, *TOPICS.values()])
    train, validation, test = (
        Split(x=found[start : start + num])
        for start, num in zip(starts, TOPICS.values(), strict=False)
    )
    return DataSplits(train=train, validation=validation, test=test)


def render(samples: Samples, info: DatasetInfo) -> list[Artifact]:
    """Some samples as text, a line each.

    Args:
        samples: Tokens of 27 characters.
        info: Not used.
    """
    del info
    rows = samples.x[:NUM_SHOWN].reshape(-1, WINDOW)
    text = "\n\n".join("".join(CHARACTERS[token] for token in row) for row in rows)
    return [Artifact(name=f"{len(rows)} of them", media_type="text/plain", content=text.encode())]


def normalised(text: str) -> str:
    """Text as text8 was made: letters in lower case, digits spelt out, all else one space.

    Example:
        >>> normalised("PEP 8, and more")
        'pep eight and more'
    """
    spelt = re.sub(r"[0-9]", lambda digit: f" {DIGITS[int(digit[0])]} ", text.lower())
    return re.sub(r"[^a-z]+", " ", spelt).strip()


def windows(tokens: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tokens (T,) as windows (N, 1, 256), those that are left over at the end dropped."""
    num = len(tokens) // WINDOW
    return tokens[: num * WINDOW].reshape(num, 1, WINDOW)


def _tokens(text: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Characters as 0 for a space and 1 to 26 for letters.

    Raises:
        DataError: There are others.
    """
    # Below a letter and above a space numbers wrap round to large ones.
    tokens = np.where(text == ord(" "), 0, text - np.uint8(ord("a") - 1)).astype(np.uint8)
    strange = np.flatnonzero((tokens >= NUM_CHARACTERS) | ((tokens == 0) & (text != ord(" "))))
    if len(strange):
        place = int(strange[0])
        raise DataError(
            f"{name} has the byte {int(text[place])} at {place:,}, expected a space or a letter "
            "from a to z; fetch text8 again"
        )
    return tokens
