"""Several runs side by side, each in a fork of this process."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import TypeVar

ResultT = TypeVar("ResultT")

CAN_FORK = sys.platform == "linux"  # elsewhere system libraries do not survive it


class LostProcessError(Exception):
    """A process ended before its run did; the text says how."""


def in_forks(runs: Sequence[Callable[[], ResultT]], jobs: int) -> list[ResultT | LostProcessError]:
    """Runs functions in processes of their own, with one thread each.

    Args:
        runs: What to run; what they return must be picklable, they need not be.
        jobs: At most so many at a time.

    Returns:
        What each returned, or how its process ended.
    """
    context = multiprocessing.get_context("fork")
    waiting = list(enumerate(runs))[::-1]
    at_work: dict[Connection, tuple[int, ForkProcess]] = {}
    ended: dict[int, ResultT | LostProcessError] = {}
    try:
        while waiting or at_work:
            while waiting and len(at_work) < jobs:
                index, run = waiting.pop()
                here, there = context.Pipe(duplex=False)
                process = context.Process(target=_send, args=(run, there))
                process.start()
                there.close()  # its end is the process's alone: it closes when that ends
                at_work[here] = index, process
            ready = set(wait(at_work))
            for here in [end for end in at_work if end in ready]:
                index, process = at_work.pop(here)
                ended[index] = _received(here, process)
    finally:
        for _, process in at_work.values():
            process.terminate()
    return [ended[index] for index in range(len(runs))]


def _send(run: Callable[[], ResultT], there: Connection) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends it
    torch.set_num_threads(1)  # threads that the parent started are not in its fork
    there.send(run())


def _received(here: Connection, process: ForkProcess) -> ResultT | LostProcessError:
    try:
        found: ResultT = here.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"
        return LostProcessError(f"the process {how} during a check")
    process.join()
    return found
