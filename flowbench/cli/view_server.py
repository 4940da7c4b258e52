"""The server: a page for each address, made from the folder as it is at the moment.

It listens on this machine alone, answers only requests that name it so (a page elsewhere cannot ask
it through the reader's browser under another name), and changes nothing.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowbench.cli import view_pages as pages
from flowbench.errors import FlowbenchError, PluginLoadError
from flowbench.leaderboard import boards, suite_boards
from flowbench.leaderboard.board.table import Board
from flowbench.leaderboard.render.html import render
from flowbench.runner.survey import find_attempt_dir, survey
from flowbench.store import queries
from flowbench.store.reconcile import readable, scan
from flowbench.suite.find import shipped_suites
from flowbench.suite.load import load_suite

try:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, PlainTextResponse, Response
    from starlette.routing import Route
except ImportError as exc:
    raise PluginLoadError("starlette is not installed; pip install 'flowbench[view]'") from exc

HOSTS = ["127.0.0.1", "localhost", "[::1]"]
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def application(results: Path) -> Starlette:
    """The server of a results folder.

    Args:
        results: The folder; it need not exist yet.
    """
    view = _View(results)
    routes = [
        Route("/", view.overview),
        Route("/stamp", view.stamp),
        Route("/boards/{name}", view.board),
        Route("/compare", view.compare),
        Route("/attempts/{name}", view.attempt),
        Route("/favicon.ico", lambda _: Response(status_code=204)),
        Route("/{path:path}", view.missing),
    ]
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)
    return Starlette(routes=routes, middleware=[hosts])


class _View:
    """Answers; each is a plain function that Starlette runs in a thread of its own.

    Args:
        results: The results folder.
    """

    def __init__(self, results: Path) -> None:
        self._results = results
        # Figures share settings of matplotlib, and boards are kept between requests.
        self._lock = threading.Lock()
        self._state_of: dict[bool, str] = {}
        self._boards: dict[bool, dict[str, Board]] = {True: {}, False: {}}

    def overview(self, request: Request) -> Response:
        """What is under way, boards, attempts."""
        asked = {key: request.query_params.get(key) for key in ("model", "dataset", "status")}
        wanted = {key: value for key, value in asked.items() if value}

        def page() -> str:
            found = survey(self._results) if self._results.is_dir() else None
            if found is None:
                return pages.missing(f"no results folder {self._results.name} yet")
            attempts: list[dict[str, Any]] = []
            if scan(self._results):
                with readable(self._results) as folder:
                    attempts = queries.list_attempts(folder)
            chosen = [a for a in attempts if all(a[k] == v for k, v in wanted.items())]
            listed = [(name, board.title) for name, board in self._all(with_details=False).items()]
            return pages.overview(self._results, found, chosen, listed, wanted)

        return self._answer(page)

    def stamp(self, request: Request) -> Response:
        """What tells the folder from what it was: its records, or also what is under way."""
        state = self._state()
        if "live" in request.query_params and self._results.is_dir():
            alive = survey(self._results).under_way
            state += repr([(one.attempt_id, one.heartbeat) for one in alive])
        return PlainTextResponse(hashlib.sha256(state.encode()).hexdigest(), headers=HEADERS)

    def board(self, request: Request) -> Response:
        """One board, as it is offline."""
        name = request.path_params["name"]

        def page() -> str:
            found = self._all(with_details=True).get(name)
            if found is None:
                raise LookupError(f"no board {name}")
            return render(found, home="/", live=True)

        return self._answer(page)

    def compare(self, request: Request) -> Response:
        """The board of chosen jobs."""
        jobs = request.query_params.getlist("job")

        def page() -> str:
            if not jobs:
                raise LookupError("no job was chosen")
            found = boards(self._results, jobs, with_details=True)
            if len(found) > 1:
                names = ", ".join(board.title for board in found)
                raise LookupError(f"these jobs do not fit on one board: {names}")
            return render(found[0], home="/", live=True)

        return self._answer(page)

    def attempt(self, request: Request) -> Response:
        """One attempt, ended or not."""
        name = request.path_params["name"]

        def page() -> str:
            for one in survey(self._results).under_way:
                if one.attempt_id == name:
                    return pages.under_way(one)
            with readable(self._results) as folder:
                contents = queries.find_attempt(folder, name)
            there = find_attempt_dir(self._results, name)
            return pages.ended(contents, pages.last_lines(there) if there else [])

        return self._answer(page)

    def missing(self, request: Request) -> Response:
        """Nothing is here."""
        return HTMLResponse(pages.missing(request.url.path), 404, headers=HEADERS)

    def _answer(self, page: Callable[[], str]) -> Response:
        with self._lock:
            try:
                return HTMLResponse(page(), headers=HEADERS)
            except (LookupError, FlowbenchError) as exc:
                return HTMLResponse(pages.missing(str(exc)), 404, headers=HEADERS)

    def _state(self) -> str:
        return repr(sorted(scan(self._results).items())) if self._results.is_dir() else ""

    def _all(self, *, with_details: bool) -> dict[str, Board]:
        """All boards by name: made anew only when results have changed.

        Args:
            with_details: Load curves and samples too, which a list of boards does not show.
        """
        state = self._state()
        if state != self._state_of.get(with_details):
            suites = [load_suite(path) for path in shipped_suites().values()]
            shown: dict[str, Any] = {"with_details": with_details}
            laid = suite_boards(self._results, suites, skip_empty=True, **shown) if state else []
            ours = [board for board in laid if not board.is_mirrored or board.has_ours]
            found = [*(boards(self._results, **shown) if state else ()), *ours]
            self._boards[with_details] = {board.slug: board for board in found}
            self._state_of[with_details] = state
        return self._boards[with_details]
