"""From a results folder to boards on disk and in the terminal: what the command line calls."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flowbench.api.specs import MetricSpec
from flowbench.code_hash import core_sha256
from flowbench.errors import LeaderboardError
from flowbench.leaderboard.board.table import Board
from flowbench.leaderboard.build.evidence import Source, methods
from flowbench.leaderboard.build.fill import fill
from flowbench.leaderboard.build.from_published import frame_of_published
from flowbench.leaderboard.build.from_records import frames_of_records
from flowbench.leaderboard.build.from_suite import frame_of_suite
from flowbench.leaderboard.build.small import with_small
from flowbench.leaderboard.build.standing import chosen_runs
from flowbench.registry.entry_points import PluginSelection, load_plugins
from flowbench.store import queries
from flowbench.store.checks import latest_checks
from flowbench.store.connection import database_path
from flowbench.store.kept import has_kept
from flowbench.store.portable import portable_check, portable_record
from flowbench.store.reconcile import readable
from flowbench.store.records import AttemptRow
from flowbench.suite.schema import Suite

if TYPE_CHECKING:
    from rich.console import RenderableType

FORMATS = {"html": ".html", "md": ".md", "latex": ".tex", "csv": ".csv", "parquet": ".parquet"}
_LABELS = {"md": "Markdown", "latex": "LaTeX", "csv": "CSV", "parquet": "Parquet"}
_TWINS = {"html": "index.html", "md": "board.md"}  # of a board that has a folder
_RUNS = "runs"


def boards(
    results: Path, job_ids: Sequence[str] | None = None, *, with_details: bool = False
) -> list[Board]:
    """Lays out what a results folder holds: a board for each data set and budget.

    Args:
        results: The results folder.
        job_ids: Only these jobs; None takes all.
        with_details: Load curves and samples too.

    Raises:
        LeaderboardError: There are no such jobs in the store.
    """
    found: list[Board] = []
    with readable(results) as folder:
        evidence = replace(_evidence(folder, job_ids), core_code=core_of(results))
        # One after another: the records of all take many times what boards show of them.
        for ids in queries.jobs_by_board(folder, job_ids) if _has_results(folder) else ():
            source = _with_records(evidence, folder, ids)
            source = completed(folder, source, source.records, with_details=with_details)
            found += boards_of_records(source)
    if not found:
        raise LeaderboardError(f"no attempts to show in {results}; start with `flowbench run`")
    return found


def boards_of_records(source: Source) -> list[Board]:
    """A board for each data set and budget that there are records of."""
    return [fill(frame, source) for frame in frames_of_records(source)]


def board_of_suite(suite: Suite, source: Source) -> Board:
    """The board of a suite that mirrors a published table or names its columns.

    Args:
        suite: The suite.
        source: Records, and what is needed to compare them; there may be none.
    """
    mirrors = suite.board is not None and suite.board.published
    frame = frame_of_published(suite, source) if mirrors else frame_of_suite(suite, source)
    board = fill(frame, source)
    small = suite.board.small if suite.board else None
    return board if small is None else with_small(board, small, source)


def suite_boards(
    results: Path, suites: Sequence[Suite], *, with_details: bool = False, skip_empty: bool = False
) -> list[Board]:
    """Lays out the boards of suites, with what a results folder holds for them.

    Args:
        results: The results folder; it need not exist for suites that mirror published tables.
        suites: Which.
        with_details: Load curves and samples too.
        skip_empty: Leave out suites that have nothing to show.

    Returns:
        The boards, in the order of the suites; one for each data set of a suite that does not say
        how its board looks.

    Raises:
        LeaderboardError: A suite has nothing to show.
    """
    with reading(results) as (folder, source):
        runs = {suite.name: chosen_runs(suite, source) for suite in suites}
        shown = {r.attempt_id: r for records in runs.values() for r in records}
        source = completed(folder, source, list(shown.values()), with_details=with_details)
        missing = [s.name for s in suites if not ((s.board and s.board.published) or runs[s.name])]
        if missing and not skip_empty:
            raise LeaderboardError(
                f"no results of suite {missing[0]!r} in {results}; "
                f"start with `flowbench run {missing[0]}`"
            )
        some = (suite for suite in suites if suite.name not in missing)
        return [board for suite in some for board in _boards_of(suite, source, runs[suite.name])]


def _has_results(folder: Path) -> bool:
    """Whether there is anything to read; attempts without a database are to be rebuilt."""
    return database_path(folder).is_file() or (folder / _RUNS).is_dir()


@contextmanager
def reading(results: Path, job_ids: Sequence[str] | None = None) -> Iterator[tuple[Path, Source]]:
    """A folder with a database, and what it holds; nothing if there are no results."""
    with readable(results) as folder:
        source = read_source(folder, job_ids) if _has_results(folder) else Source()
        yield folder, replace(source, core_code=core_of(results))


def core_of(results: Path) -> str | None:
    """Hash of the core that results should be of: what is kept as text stays what it is."""
    # What is kept beside a paper's table must not turn stale with each release.
    return None if has_kept(results) else core_sha256()


def _boards_of(suite: Suite, source: Source, runs: Sequence[AttemptRow]) -> list[Board]:
    if suite.lays_out:
        return [board_of_suite(suite, source)]
    caveats = suite.board.caveats if suite.board else ()
    laid_out = boards_of_records(replace(source, records=runs))
    found = [replace(board, caveats=caveats) for board in laid_out]
    if len(found) == 1:
        title = suite.title or found[0].title
        return [replace(found[0], slug=suite.name, suite=suite.name, title=title)]
    return [replace(board, slug=f"{suite.name}-{board.slug}", suite=suite.name) for board in found]


def read_source(results: Path, job_ids: Sequence[str] | None = None) -> Source:
    """Reads what boards are made from, without curves, samples and test examples.

    Places on the machine that ran are left out here, so that boards do not show them, and show the
    same when they are made from what is kept as text.

    Args:
        results: A results folder with a database.
        job_ids: Only these jobs; None takes all.
    """
    return _with_records(_evidence(results, job_ids), results, job_ids)


def _evidence(results: Path, job_ids: Sequence[str] | None) -> Source:
    """What there is to compare runs by, without the runs."""
    if not _has_results(results):
        return Source()
    models = (check for check in latest_checks(results) if check.kind == "model")
    return Source(
        checks={check.name: portable_check(check) for check in models},
        newest_code=queries.newest_code(results, job_ids),
    )


def _with_records(evidence: Source, results: Path, job_ids: Sequence[str] | None) -> Source:
    standing = queries.standing_attempts(results, job_ids)
    # A trial of a sweep was measured on nothing that a board shows.
    records = [portable_record(r) for r in standing if r.trial is None]
    every = (m for record in records for m in record.measurements)
    metrics = installed_metrics() if any(m.role is None for m in every) else {}
    return replace(evidence, records=records, metrics=metrics)


def installed_metrics() -> dict[str, MetricSpec]:
    """Specs by name, in order; plugins that clash or do not load keep no board from being made."""
    specs = (spec for plugin in load_plugins(PluginSelection()) for spec in plugin.specs)
    return {spec.name: spec for spec in specs if isinstance(spec, MetricSpec)}


def completed(
    results: Path, source: Source, shown: Sequence[AttemptRow], *, with_details: bool
) -> Source:
    """Adds what the shown runs need beside their records."""
    if not shown:
        return source
    # Test examples are only ever compared between single runs, and are the largest part of a store.
    alone = [method.first.attempt_id for method in methods(shown, {}) if method.is_single]
    ids = [record.attempt_id for record in shown] if with_details else []
    found = queries.attempt_contents(results, ids) if ids else []
    contents = {c.record.attempt_id: c for c in found}
    return replace(source, log_prob=queries.per_example(results, alone), contents=contents)


def terminal_table(
    results: Path, job_ids: Sequence[str] | None = None, suite: Suite | None = None
) -> RenderableType:
    """The boards of a results folder, as a rich console prints them.

    Args:
        results: The results folder.
        job_ids: Only these jobs; None takes all.
        suite: Show this suite's own board, if it says how that looks.
    """
    from flowbench.leaderboard.render import terminal

    if suite is not None and suite.lays_out:
        return terminal.render(suite_boards(results, [suite]))
    return terminal.render(boards(results, job_ids))


def write_boards(
    found: Sequence[Board],
    out: Path,
    formats: Sequence[str] = ("html",),
    *,
    folders: bool = False,
) -> list[Path]:
    """Writes boards.

    The only board in HTML is ``index.html``; of several, those already in the folder included, each
    has its own page, and ``index.html`` lists them, from what ``index.json`` keeps of each. With
    folders each board is ``<name>/index.html``, however many there are, and pages have twins in
    Markdown for who reads them in a repository: ``<name>/board.md`` and ``index.md``. A file that
    would not change is left as it is.

    Args:
        found: The boards.
        out: Folder for the files; created if need be.
        formats: Names in `FORMATS`.
        folders: Give each board a folder of its own.

    Returns:
        The files, the one to open first.

    Raises:
        LeaderboardError: A format is not known, or the folder cannot be written.
    """
    check_formats(formats)
    if folders and "html" in formats:
        formats = tuple(dict.fromkeys((*formats, "md")))
    try:
        pages = _pages(found, out, formats, folders)
        return [_write(out / name, content) for name, content in pages]
    except OSError as exc:
        raise LeaderboardError(
            f"cannot write boards to {out}: {exc.strerror}; choose another folder with --out"
        ) from exc


def check_formats(formats: Sequence[str]) -> None:
    """Refuses a format that boards cannot be written in.

    Raises:
        LeaderboardError: One is not in `FORMATS`.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise LeaderboardError(f"unknown format {unknown[0]!r}; expected {', '.join(FORMATS)}")


def _pages(
    found: Sequence[Board], out: Path, formats: Sequence[str], folders: bool
) -> Iterator[tuple[str, str | bytes]]:
    """File names and contents."""
    from flowbench.leaderboard.render import csv, html, index, latex, markdown, parquet

    renderers: dict[str, Callable[[Board], str | bytes]] = {
        "md": markdown.render,
        "latex": latex.render,
        "csv": csv.render,
        "parquet": parquet.render,
    }
    indexes = {"html": html.render_index, "md": markdown.render_index}
    listed = index.read(out)
    alone = not folders and len(listed.keys() | {board.slug for board in found}) == 1

    def beside(board: Board, name: str) -> str:
        """A board's file, from its own page."""
        twin = _TWINS.get(name) if folders else "index.html" if alone and name == "html" else None
        return twin or f"{board.slug}{FORMATS[name]}"

    def file(board: Board, name: str) -> str:
        """A board's file, from the folder of all."""
        return f"{board.slug}/{beside(board, name)}" if folders else beside(board, name)

    anew = {board.slug: index.entry(board, file(board, "html")) for board in found}
    others = {name: listed[name] for name in listed.keys() - anew.keys()}
    moved = {} if alone else index.own_names(out, others)
    listed = others | anew
    for name in formats:
        if name in indexes and not alone and (folders or name == "html"):
            yield f"index{FORMATS[name]}", indexes[name](listed)
        for board in found:
            if name == "html":
                home = "" if alone else "../index.html" if folders else "index.html"
                links = [
                    (_LABELS[other], beside(board, other)) for other in formats if other != name
                ]
                yield file(board, name), html.render(board, home=home, downloads=links)
            else:
                yield file(board, name), renderers[name](board)
    if "html" in formats:
        yield from moved.items()
        yield index.FILE, json.dumps(listed, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _write(path: Path, content: str | bytes) -> Path:
    """Writes a file so that a reader sees all of it or what was there before."""
    new = content.encode() if isinstance(content, str) else content
    # Left alone, so that a page in git changes only with its content.
    if path.is_file() and path.read_bytes() == new:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".board-") as folder:
        part = Path(folder) / path.name
        part.write_bytes(new)
        part.replace(path)
    return path
