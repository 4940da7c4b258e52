"""From a results folder to boards on disk and in the terminal: what the command line calls."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowbench.errors import LeaderboardError
from flowbench.leaderboard.build import Source, build_boards
from flowbench.leaderboard.table import Board
from flowbench.store import queries

if TYPE_CHECKING:
    from rich.console import RenderableType

FORMATS = {"html": ".html", "md": ".md", "csv": ".csv"}


def boards(
    results: Path, job_ids: Sequence[str] | None = None, *, with_details: bool = False
) -> list[Board]:
    """Lays out what a results folder holds.

    Args:
        results: The results folder.
        job_ids: Only these jobs; None takes all.
        with_details: Load curves and samples too.

    Returns:
        One board for each data set and budget.

    Raises:
        LeaderboardError: There are no such jobs in the store.
    """
    records = queries.standing_attempts(results, job_ids)
    if not records:
        raise LeaderboardError(f"no attempts to show in {results}; start with `flowbench run`")
    ids = [record.attempt_id for record in records if record.status == "ok"]
    log_prob = queries.per_example(results, ids)
    contents = {}
    if with_details:
        found = queries.attempt_contents(results, [record.attempt_id for record in records])
        contents = {c.record.attempt_id: c for c in found}
    return build_boards(Source(records=records, log_prob=log_prob, contents=contents))


def terminal_table(results: Path, job_ids: Sequence[str] | None = None) -> RenderableType:
    """The boards of a results folder for the terminal.

    Args:
        results: The results folder.
        job_ids: Only these jobs; None takes all.

    Returns:
        Something that a rich console prints.
    """
    from flowbench.leaderboard.render import terminal

    return terminal.render(boards(results, job_ids))


def write_board(
    results: Path,
    out: Path,
    formats: Sequence[str] = ("html",),
    job_ids: Sequence[str] | None = None,
) -> list[Path]:
    """Writes the boards of a results folder.

    One board in HTML is ``index.html``; of several each has its own page, and ``index.html`` lists
    them.

    Args:
        results: The results folder.
        out: Folder for the files; created if need be.
        formats: ``html``, ``md``, ``csv``.
        job_ids: Only these jobs; None takes all.

    Returns:
        The files, the one to open first.

    Raises:
        LeaderboardError: A format is not known, there is nothing to show, or the folder cannot be
            written.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise LeaderboardError(f"unknown format {unknown[0]!r}; expected {', '.join(FORMATS)}")
    found = boards(results, job_ids, with_details="html" in formats)
    pages: dict[str, str] = {}
    for name in formats:
        pages |= _render(found, name)
    try:
        out.mkdir(parents=True, exist_ok=True)
        return [_write(out / name, text) for name, text in pages.items()]
    except OSError as exc:
        raise LeaderboardError(
            f"cannot write boards to {out}: {exc.strerror}; choose another folder with --out"
        ) from exc


def _render(found: Sequence[Board], name: str) -> dict[str, str]:
    """File names and contents in one format."""
    if name == "html":
        return _render_html(found)
    from flowbench.leaderboard.render import csv, markdown

    render: Callable[[Board], str] = {"md": markdown.render, "csv": csv.render}[name]
    return {f"{board.slug}{FORMATS[name]}": render(board) for board in found}


def _render_html(found: Sequence[Board]) -> dict[str, str]:
    from flowbench.leaderboard.render import html

    if len(found) == 1:
        return {"index.html": html.render(found[0])}
    named = [(f"{board.slug}.html", board) for board in found]
    others = [(name, board.title) for name, board in named]
    pages = {"index.html": html.render_index(named)}
    return pages | {name: html.render(board, others=others) for name, board in named}


def _write(path: Path, text: str) -> Path:
    """Writes a file so that a reader sees all of it or what was there before."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".board-") as folder:
        part = Path(folder) / path.name
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    return path
