"""Another process of a job on several devices: it does the steps of the job's worker.

``python -m flowbench.runner.follower ATTEMPT_DIR RANK SOCKET``, with the number of an open socket:
see `flowbench.runner.followers`. It is told over it on which device and where all meet, then how
far training is before each step; and it ends when the other end is gone. It writes no file.
"""

from __future__ import annotations

import importlib
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from flowbench.runner.attempt import AttemptDir
from flowbench.runner.followers import keep_to_cores
from flowbench.runner.pulse import Pulse
from flowbench.runner.turnstile import Turnstile
from flowbench.runner.under_way import Attempt
from flowbench.runner.worker import ASKED_BY, classify
from flowbench.training.clock import Clock


def main(folder: str, rank: str, number: str) -> int:
    """Follows the worker of an attempt.

    Args:
        folder: The attempt's folder, with its work order.
        rank: Which of the job's processes this is, from 1 on.
        number: Of an open socket.

    Returns:
        0 if it did all that it was told; 3 if it failed, as it has told the worker.
    """
    for asked in ASKED_BY:  # the worker is asked as well, and says what is to be done
        signal.signal(asked, signal.SIG_IGN)
    channel, directory = Connection(int(number)), _Mute(Path(folder))
    order = directory.order()
    keep_to_cores(order, int(rank))
    clock = Clock(now=lambda: 0.0)  # time is the worker's to read
    pulse, stop = Pulse(directory, clock), threading.Event()
    attempt = Attempt(order, directory, clock, _NoTurnstile(), pulse, stop)
    try:
        _follow(attempt, int(rank), channel)
    except EOFError:  # the worker is done, or gone
        return 0
    except BaseException as exc:  # the border of one process: whatever happened is told
        traceback.print_exc()
        try:
            channel.send(classify(exc, attempt))
        except OSError:  # the worker has ended before, which may be the cause of it
            return 0
        return 3
    return 0


def _follow(attempt: Attempt, rank: int, channel: Connection) -> None:
    import torch

    from flowbench.runner.setup import build, open_ground
    from flowbench.runner.train import follow
    from flowbench.training.parallel import SeveralRanks, meet, store_at

    torch.set_num_threads(attempt.order.threads_a_device)
    importlib.import_module("torch._dynamo")  # the first optimizer imports it: two seconds
    kind, port = channel.recv()
    attempt.order = attempt.order.model_copy(update={"device": kind})
    ground = open_ground(attempt)
    with ground.device.numerics("float32"):
        built = build(attempt, ground)
        meet(store_at(port), kind, rank, attempt.order.num_devices)
        follow(attempt, ground, built, SeveralRanks(rank, lambda _: channel.recv()))


class _Mute(AttemptDir):
    """An attempt's folder, in which another process writes."""

    def write(self, name: str, data: bytes | str) -> None:
        """Leaves it to that."""


class _NoTurnstile(Turnstile):
    """Where the worker waits, this process waits for it."""

    def __init__(self) -> None:
        pass


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
