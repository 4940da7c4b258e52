"""The other processes of a job on several devices, as its worker sees them.

The worker is rank 0. It starts them, tells them how far training is, and looks after them; they do
the same steps, each on a device of its own (`flowbench.runner.follower`). They are plain processes
of ours and none of torch's launcher: the worker stays the parent of all, with its lock, heartbeat,
ledger and record, nothing is ever restarted, and the socket by which they are told ends with it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

from flowbench.errors import RankLostError
from flowbench.runner.attempt import WorkOrder
from flowbench.runner.executors.process_group import how_it_ended
from flowbench.runner.executors.start import PYTHON
from flowbench.store.records import AttemptStatus
from flowbench.training.ranks import Ranks

HEARD_WITHIN_S = 3.0  # of a failure of what all do together: who is the cause of it
END_WITHIN_S = 5.0
GPUS = "CUDA_VISIBLE_DEVICES"

GiveUp = Callable[[AttemptStatus, str], None]


class Followers:
    """Starts the other processes of a training, and sees it end with the first of them that ends.

    Args:
        order: What the worker is to do; this process is bound to the first device.
        folder: The attempt's folder.
        give_up: Records that the attempt has ended, where the worker itself no longer can.
    """

    def __init__(self, order: WorkOrder, folder: Path, give_up: GiveUp) -> None:
        self._order, self._folder, self._give_up = order, folder, give_up
        self._environments = [environment_of(order, rank) for rank in range(order.num_devices)]
        os.environ.update(self._environments[0])
        self._channels: list[Connection] = []
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lost: tuple[AttemptStatus, str] | None = None
        self._is_lost = threading.Event()
        self._is_over = False

    def start(self) -> None:
        """Starts those that are not there, so that they import while this process does."""
        for rank in range(len(self._processes) + 1, self._order.num_devices):
            mine, its = socket.socketpair()
            command = [*PYTHON, "flowbench.runner.follower", str(self._folder), str(rank)]
            process = subprocess.Popen(
                [*command, str(its.fileno())],
                env={**os.environ, **self._environments[rank]},
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],  # of its own: it holds neither the lock nor the lifeline
            )
            its.close()
            channel = Connection(mine.detach())
            self._processes.append(process)
            self._channels.append(channel)
            watch = threading.Thread(target=self._watch, args=(rank, process, channel), daemon=True)
            watch.start()

    def _join(self, device_kind: str) -> Ranks:
        """Waits until all are there."""
        self.start()
        # Not above: most jobs have one device, and need none of it.
        from flowbench.training.parallel import SeveralRanks, meet, meeting_place

        place = meeting_place()
        for channel in self._channels:
            channel.send((device_kind, place.port))
        meet(place, device_kind, 0, self._order.num_devices)
        return SeveralRanks(0, self._tell)

    @contextmanager
    def together(self, device_kind: str) -> Iterator[Ranks]:
        """Within the block all work; an error in what they do together is that of its cause.

        Args:
            device_kind: What each of them computes on.

        Yields:
            All of them, as a training sees them.

        Raises:
            RankLostError: One of them has ended.
        """
        try:
            ranks = self._join(device_kind)
            yield ranks
            ranks.part()
        except Exception as exc:
            # What the others see of an end is a connection that breaks, a moment before or after.
            if _is_of_all(exc) and self._is_lost.wait(HEARD_WITHIN_S) and self._lost:
                raise RankLostError(*self._lost) from exc
            raise
        finally:
            self._close()

    def _close(self) -> None:
        """Lets all of them end, and sees to it that they do."""
        self._is_over = True
        for channel in self._channels:
            with suppress(OSError):
                # A thread reads from it: that ends by this, and not by its closing.
                socket.socket(fileno=os.dup(channel.fileno())).shutdown(socket.SHUT_RDWR)
        until = time.monotonic() + END_WITHIN_S
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
        self._kill()

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def _tell(self, progress: float) -> float:
        for channel in self._channels:
            channel.send(progress)
        return progress

    def _watch(self, rank: int, process: subprocess.Popen[bytes], channel: Connection) -> None:
        """Waits for the end of one of them."""
        said: tuple[AttemptStatus, str] | None = None
        with suppress(EOFError, OSError):
            said = channel.recv()
        status = process.wait()
        if self._is_over or (said is None and status == 0):  # it has done all steps
            return
        who = f"rank {rank} of {self._order.num_devices}"
        if said is None:
            said = how_it_ended(who, status)
        else:
            said = (said[0], f"{who}: {said[1]}")
        self._lost = self._lost or said
        self._is_lost.set()
        # Work that is queued on a GPU may wait for it for ever, and this process with that.
        time.sleep(HEARD_WITHIN_S + END_WITHIN_S)
        if not self._is_over:
            self._kill()
            self._give_up(*self._lost)


def environment_of(order: WorkOrder, rank: int) -> Mapping[str, str]:
    """What binds a process of a job to its device.

    Args:
        rank: Which of the job's processes.
    """
    bound = {"OMP_NUM_THREADS": str(order.threads_a_device)} if order.num_threads else {}
    if order.device not in ("auto", "cuda"):
        return bound
    named = [name.strip() for name in os.environ.get(GPUS, "").split(",") if name.strip()]
    if not named:
        return {**bound, GPUS: str(rank)}
    # One that has none says so itself, as soon as it looks for it.
    return {**bound, GPUS: named[rank] if rank < len(named) else ""}


def keep_to_cores(order: WorkOrder, rank: int) -> None:
    """Keeps this process on its share of the job's cores.

    Args:
        rank: Which of the job's processes.
    """
    if order.cores is None or not hasattr(os, "sched_setaffinity"):
        return
    each = len(order.cores) // order.num_devices
    own = order.cores[rank * each : (rank + 1) * each]
    os.sched_setaffinity(0, own or order.cores)


def _is_of_all(error: BaseException) -> bool:
    """Whether an error is one of what several processes do together."""
    text = str(error).lower()
    known = ("gloo", "nccl", "connection", "store", "timed out")
    return isinstance(error, ConnectionError) or (
        isinstance(error, RuntimeError) and any(word in text for word in known)
    )
