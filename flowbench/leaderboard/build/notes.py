"""Letters for notes, in the order in which a table comes to them."""

from __future__ import annotations

from collections.abc import Sequence

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


class Notes:
    """The notes of one board, each text once."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    def letter(self, text: str) -> str:
        """The letter of a note; nothing for an empty one."""
        if not text:
            return ""
        return self._letters.setdefault(text, _letter(len(self._letters)))

    def letters(self) -> tuple[tuple[str, str], ...]:
        """All letters with their notes, in order."""
        return tuple((letter, text) for text, letter in self._letters.items())


def next_letter(notes: Sequence[tuple[str, str]]) -> str:
    """The letter of one more note, beside those that a board has."""
    return _letter(len(notes))


def _letter(index: int) -> str:
    """``a`` to ``z``, then ``aa``, ``ab``, ..."""
    head, tail = divmod(index, len(_ALPHABET))
    return (_letter(head - 1) if head else "") + _ALPHABET[tail]
