"""A server of a results folder, and requests to it."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from flowbench.cli.view_server import application


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    text: str
    headers: http.client.HTTPMessage


@contextmanager
def viewed(results: Path) -> Iterator[int]:
    """Serves a folder on a free port for as long as the block lasts."""
    config = uvicorn.Config(application(results), host="127.0.0.1", port=0, log_level="error")
    server, socket = uvicorn.Server(config), config.bind_socket()
    thread = threading.Thread(target=server.run, args=([socket],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield int(socket.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()


def ask(port: int, path: str, *, method: str = "GET", host: str = "localhost") -> Answer:
    """Asks a server of this machine, under any name."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, headers={"Host": host})
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode("utf-8"), answer.headers)
    finally:
        connection.close()
