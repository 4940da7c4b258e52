"""How long work inside a model, such as drawing a sample token by token, says how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# A context variable and no argument: the loop over tokens is deep inside a model, whose signatures
# are settled. Each thread has its own.
_LISTENER: ContextVar[Callable[[float], None] | None] = ContextVar("listener", default=None)


def report_progress(part: float) -> None:
    """Tells the harness how far a long piece of work is; costs nothing where nobody listens.

    The harness shows it, and may raise to stop a job that was asked to stop.

    Args:
        part: Part of the work that is done, in [0, 1].
    """
    listener = _LISTENER.get()
    if listener is not None:
        listener(part)


@contextmanager
def progress_to(listener: Callable[[float], None]) -> Iterator[None]:
    """Sends the progress of work inside the block to a listener.

    Args:
        listener: Told the part that is done; may raise.

    Yields:
        Nothing.
    """
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)
