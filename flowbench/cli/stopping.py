"""Signals that ask a run to save and end."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowbench.runner.schedule import Scheduler

DEFAULT = "USR1"


def stop_signals(name: str = DEFAULT) -> tuple[signal.Signals, ...]:
    """INT, TERM, HUP and one more, but for those that this process was told to ignore.

    Args:
        name: The one more, as ``USR1`` or ``SIGUSR1``.

    Raises:
        SuiteError: There is no such signal, or it cannot be caught.
    """
    from flowbench.errors import SuiteError

    try:
        asked = signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
        signal.signal(asked, signal.getsignal(asked))
    except (KeyError, ValueError, OSError) as exc:
        raise SuiteError(
            f"--stop-signal is {name!r}; expected a signal that can be caught, e.g. USR1"
        ) from exc
    chosen = dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, asked))
    return tuple(s for s in chosen if signal.getsignal(s) != signal.SIG_IGN)  # nohup


@contextmanager
def interrupted_by(signals: Sequence[signal.Signals], scheduler: Scheduler) -> Iterator[None]:
    """Has signals interrupt a run for as long as the block lasts.

    Clusters end a job by SIGTERM, terminals by SIGHUP: checkpoints are left behind then, as with
    Ctrl-C.
    """
    before = {s: signal.signal(s, lambda *_: scheduler.interrupt()) for s in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
