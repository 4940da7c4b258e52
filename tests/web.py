"""A web server for tests of downloads: it can cut a connection, move a file or show a page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Web:
    """What the server holds, and what it was asked.

    Attributes:
        files: Bytes by path, e.g. ``"a.zip"``.
        cut_after: Bytes of a body after which the connection is cut, by path.
        pages: Paths that answer with a web page.
        ranges: Whether a client can ask for the rest of a file.
        etag: Version of the files.
        asked: Path and ``Range`` header of each request.
    """

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: dict[str, int] = field(default_factory=dict)
    pages: set[str] = field(default_factory=set)
    ranges: bool = True
    etag: str | None = '"1"'
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


@contextmanager
def serve() -> Iterator[Web]:
    """Runs a server on a free port."""
    web = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": web}))
    web.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    web: Web

    def do_GET(self) -> None:
        web, name = self.web, self.path.lstrip("/")
        asked = self.headers.get("Range")
        web.asked.append((name, asked))
        if name in web.pages:
            self._answer(200, b"<!DOCTYPE html><html>log in</html>", {"Content-Type": "text/html"})
        elif name not in web.files:
            self.send_error(404)
        else:
            self._send(web.files[name], asked, name)

    def _send(self, body: bytes, asked: str | None, name: str) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        if self.web.etag is not None:
            headers["ETag"] = self.web.etag
        same = self.headers.get("If-Range") in (None, self.web.etag)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if not (asked and self.web.ranges and same):
            self._answer(200, body, headers, cut=self.web.cut_after.get(name))
        elif start >= len(body):
            self.send_error(416)
        else:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self._answer(206, body[start:], headers, cut=self.web.cut_after.get(name))

    def _answer(
        self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        del args
