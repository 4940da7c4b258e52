"""A worker on this machine, as whoever started it sees it."""

from __future__ import annotations

from typing import Protocol

LOG = "log.txt"  # in an attempt's folder: all that its worker printed


class Handle(Protocol):
    """A worker that was started."""

    def poll(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        ...

    def terminate(self) -> None:
        """Asks it, and all that it started, to stop."""
        ...

    def kill(self) -> None:
        """Ends it, and all that it started, at once."""
        ...

    def held_bytes(self) -> int | None:
        """Memory that it and all that it started hold; None where that cannot be told."""
        ...
