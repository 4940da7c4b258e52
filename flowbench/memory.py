"""What takes long to find out and never changes, remembered from one command to the next."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

from flowbench.files import write_whole
from flowbench.paths import cache_dir


class Memory:
    """Texts by key, in a file of the user's cache folder. One that cannot be read is begun anew.

    Args:
        name: Of the file.
        by: What found the texts out: those of another are forgotten.
        most: Texts that are remembered, before it begins anew.
    """

    def __init__(self, name: str, by: str, most: int) -> None:
        self._path, self._by = cache_dir() / name, by
        self._texts = self._read()
        if len(self._texts) > most:
            self._texts.clear()
        self._is_new = False

    def recall(self, key: str, find_out: Callable[[], str]) -> str:
        """The text of a key.

        Args:
            find_out: Finds it, where it is not known yet; always the same for the same key.
        """
        if key not in self._texts:
            self._texts[key], self._is_new = find_out(), True
        return self._texts[key]

    def keep(self) -> None:
        """Writes down what is new."""
        if self._is_new:
            self._is_new = False
            with contextlib.suppress(OSError):  # it takes longer next time
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self._path, json.dumps({"by": self._by, "texts": self._texts}))

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_bytes())
            texts = found["texts"] if found["by"] == self._by else {}
            return {key: text for key, text in texts.items() if isinstance(text, str)}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}
