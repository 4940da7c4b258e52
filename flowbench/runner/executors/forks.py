"""Workers forked from a process that has done their imports, where Linux makes it possible."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from flowbench.runner.executors.left_over import TAG
from flowbench.runner.executors.process_group import Child, ProcessGroup

SERVER = ("-P", "-m", "flowbench.runner.fork_server")  # -P: see `LocalExecutor.launch`
_ROOM = " " * 4096  # for the name of an attempt's folder
_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_unborn: set[ForkedWorker] = set()


class ForkServer:
    """The process that forks the workers of one slot, one after another.

    Args:
        environment: Of the process, and so of the workers.
        core: Hash of the core's code, which it imports.
        cores: Cores to stay on; None for any.
        log: Where it prints what goes wrong before it is asked for the first worker.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        core: str,
        cores: Sequence[int] | None,
        log: BinaryIO,
    ) -> None:
        self._made_of = (environment, core, cores)
        self._channel, its = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, *SERVER, str(its.fileno()), *map(str, cores or ())],
            env={**environment, TAG: _ROOM},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[its.fileno()],
        )
        its.close()
        self._channel.setblocking(False)
        self.group = ProcessGroup(self._process)

    def serves(
        self, environment: Mapping[str, str], core: str, cores: Sequence[int] | None
    ) -> bool:
        """Whether it can be asked for another worker, of such an environment, code and cores."""
        return self._made_of == (environment, core, cores) and self.group.poll() is None

    @property
    def is_asked(self) -> bool:
        """Whether a worker of its is yet to be forked."""
        return any(worker.server is self for worker in _unborn)

    def fork(self, folder: Path, log: BinaryIO, inherited: Sequence[int]) -> ForkedWorker:
        """Asks for a worker, once the one before has ended.

        Args:
            inherited: Open files that become the worker's.
        """
        worker = ForkedWorker(self)
        with contextlib.suppress(ConnectionError):  # it has just ended, as the worker will say
            socket.send_fds(self._channel, [os.fsencode(folder)], [log.fileno(), *inherited])
        return worker

    def answer(self) -> int | None:
        """The process id of the worker that was asked for; None while there is none."""
        with contextlib.suppress(BlockingIOError, ConnectionError):
            return int(self._channel.recv(len(_ROOM)) or 0) or None
        return None

    def close(self) -> None:
        """Ends it; one that is asked for a worker starts that before, as others do."""
        self._channel.close()
        if self.is_asked:
            self._process.returncode = 0  # it ends by itself, later, and nobody will ask how
        else:
            self._process.wait()


class ForkedWorker:
    """A worker, for which its server stands until it is forked.

    It becomes a child of this process, which takes in orphans until then, and these alone.
    """

    def __init__(self, server: ForkServer) -> None:
        self.server = server
        self._group: ProcessGroup | None = None
        _unborn.add(self)
        _take_in_orphans(True)

    def poll(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._now().poll()

    def terminate(self) -> None:
        """Asks it, and all that it started, to stop."""
        self._now().terminate()

    def kill(self) -> None:
        """Ends it, and all that it started, at once."""
        self._now().kill()

    def held_bytes(self) -> int | None:
        """Memory that it and all that it started hold; None where that cannot be told."""
        return self._now().held_bytes()

    def _now(self) -> ProcessGroup:
        if self._group is None:
            ended = self.server.group.poll() is not None  # first: it may have answered before
            if (pid := self.server.answer()) is not None:
                self._group = ProcessGroup(Child(pid))
            elif ended:
                self._group = self.server.group
            if self._group is not None:
                _unborn.discard(self)
                _take_in_orphans(bool(_unborn))
        return self._group or self.server.group


def _take_in_orphans(wanted: bool) -> None:
    """Makes this process, or no longer, the parent of descendants that lose theirs.

    Raises:
        OSError: The system does not allow it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
