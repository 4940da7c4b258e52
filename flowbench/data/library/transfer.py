"""How far a download, a check or a conversion is, or that another process is at it: on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

Advance = Callable[[int], None]


@contextmanager
def transfer(doing: str, total_bytes: int | None = None, done_bytes: int = 0) -> Iterator[Advance]:
    """A progress bar on a terminal; elsewhere one line at the beginning.

    Args:
        doing: What is being done, e.g. ``"downloading train.zip"``.
        total_bytes: Bytes in all; None if unknown.
        done_bytes: Bytes that an earlier try has done.

    Yields:
        A function that is told how many further bytes are done.
    """
    from rich.console import Console  # a library that a plan without downloads does not need
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    # Standard output is for results: `--json` stays whole.
    console = Console(stderr=True)
    # A bar in a log file is thousands of lines.
    if not console.is_terminal:
        console.print(_line(doing, total_bytes, done_bytes), highlight=False, soft_wrap=True)
        yield lambda _: None
        return
    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    text = TextColumn("{task.description}")
    with Progress(text, BarColumn(), *columns, console=console, transient=True) as progress:
        task = progress.add_task(doing, total=total_bytes, completed=done_bytes)
        yield lambda num_bytes: progress.advance(task, num_bytes)


@contextmanager
def one_at_a_time(path: Path, doing: str) -> Iterator[None]:
    """Holds a lock file, so that no other process does the same thing meanwhile.

    The lock ends with the process that holds it. Its file stays.

    Args:
        path: The lock file; its folder is made.
        doing: What the other process is doing if this one must wait, e.g. ``"preparing digits"``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        # Without waiting at first, so that whoever has to wait is told what for.
        lock.acquire(blocking=False)
    except Timeout:
        with transfer(f"another process is {doing}; waiting for it"):
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def human_bytes(num_bytes: float) -> str:
    """A size as a person reads it.

    Returns:
        E.g. ``"4.2 MB"``, in powers of 1000.
    """
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def _line(doing: str, total_bytes: int | None, done_bytes: int) -> str:
    size = "" if total_bytes is None else f", {human_bytes(total_bytes)}"
    return f"{doing}{size}" + (f", {human_bytes(done_bytes)} of it are here" if done_bytes else "")
