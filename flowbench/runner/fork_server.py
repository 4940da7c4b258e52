"""A process that has imported what every worker needs, and forks workers from itself.

``python -m flowbench.runner.fork_server SOCKET [CORE ...]``, with the number of an open socket: see
`flowbench.runner.executors.forks`. It loads no plugin and runs nothing. It has no device, and no
thread but those that NumPy's OpenBLAS starts, and ends again before a fork; so a fork of it is a
worker like any other, whose imports are done.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import socket
import sys

import numpy as np

from flowbench.code_hash import core_sha256
from flowbench.runner import worker
from flowbench.runner.executors.left_over import TAG

# The harness, what it imports only when it gets there, and those of the libraries that flowbench
# itself requires for which metrics wait longest. Nothing that belongs to a plugin.
IMPORTED = (
    "flowbench.runner.execute",
    "torch._dynamo",
    "scipy.stats",
    "sklearn.model_selection",
    "sklearn.neural_network",
)
MAX_PATH = 4096  # bytes


def main(number: str, *cores: str) -> int:
    """Forks a worker for each message, until the run has ended.

    Args:
        number: Of a socket; a message is the folder of an attempt, with its log, then the files of
            a `Lifeline`. The answer is the process id of the worker.
        cores: Cores to stay on: what is imported may bind its threads to those that it finds.

    Returns:
        The exit status of a worker; in the server it does not return.
    """
    if cores:
        os.sched_setaffinity(0, map(int, cores))
    for name in IMPORTED:
        importlib.import_module(name)
    core_sha256()  # remembers the core's syntax
    gc.collect()
    gc.freeze()  # what is here stays; a collection in a worker need not look at it, nor copy it
    channel = socket.socket(fileno=int(number))
    while True:
        asked, files, _, _ = socket.recv_fds(channel, MAX_PATH, 3)
        if not asked:
            os._exit(0)  # at once: nothing here needs an orderly end
        # The log of this process, too: whatever goes wrong from here on belongs to the attempt.
        log, *inherited = files
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        if _fork(channel):
            channel.close()
            folder = os.fsdecode(asked)
            _call_it(folder)
            sys.argv = [worker.__file__, folder, *map(str, inherited)]
            np.random.seed()  # noqa: NPY002  # as Python's own does: no two workers draw the same
            return worker.main(*sys.argv[1:])
        for file in inherited:
            os.close(file)


def _fork(channel: socket.socket) -> bool:
    """Makes a child of this process's parent, in a session of its own, and answers with its id.

    Returns:
        Whether this is the child.
    """
    mine, its = socket.socketpair()
    if (between := os.fork()) == 0:
        if os.fork() != 0:
            os._exit(0)  # its child goes to the run, which takes in orphans meanwhile
        mine.close()
        os.setsid()
        its.sendall(str(os.getpid()).encode())
        # If the server is killed before it has answered, nobody knows of this process.
        if not its.recv(1):
            os._exit(1)
        its.close()
        return True
    its.close()
    answer = mine.recv(MAX_PATH)
    os.waitpid(between, 0)
    with contextlib.suppress(BrokenPipeError):  # the run has ended; its worker will see that
        channel.sendall(answer)
    mine.sendall(b"\n")
    mine.close()
    return False


def _call_it(folder: str) -> None:
    """Says of which attempt this process is, also to who looks from outside.

    The system shows others the environment that a process began with, where room was left for it.
    """
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    ctypes.memmove(getenv(TAG.encode()), os.fsencode(folder).ljust(MAX_PATH, b"\0"), MAX_PATH)
    os.environ[TAG] = folder


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
