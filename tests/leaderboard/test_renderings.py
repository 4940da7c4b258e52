"""All renderings of mirrored boards say the same, cell by cell."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from flowbench.leaderboard import suite_boards, write_boards
from flowbench.leaderboard.board.table import FIELDS, Board, Cell
from flowbench.leaderboard.render import csv as csv_render
from flowbench.leaderboard.render import html, latex, markdown, parquet, terminal
from flowbench.store.attempt_files import attempt_dirs
from flowbench.store.checks import write_check
from flowbench.store.ingest import ingest
from flowbench.suite.published import published_tables
from tests.leaderboard import mirrored

TABLES = sorted(published_tables())
FORMATS = ("html", "md", "latex", "csv", "parquet")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mirrored.store(tmp_path_factory.mktemp("results"), failing="realnvp:cifar10")


@pytest.fixture(scope="module")
def boards(results: Path) -> dict[str, Board]:
    suites = [mirrored.suite(name) for name in TABLES]
    return {board.slug: board for board in suite_boards(results, suites, with_details=True)}


def cells(board: Board) -> list[list[Cell]]:
    return [list(row.cells) for row in board.rows]


def parts(cell: Cell) -> list[str]:
    return [p for p in (cell.printed, cell.text, cell.difference, cell.budget_share) if p]


def in_order(texts: list[str], printed: str) -> bool:
    """Whether texts stand one after another, spaces apart."""
    start = 0
    squeezed = re.sub(r"\s", "", printed)
    for text in texts:
        wanted = re.sub(r"\s", "", text)
        found = squeezed.find(wanted, start)
        if found < 0:
            return False
        start = found + len(wanted)
    return True


@pytest.mark.parametrize("name", TABLES)
def test_csv_has_every_cell(boards: dict[str, Board], name: str) -> None:
    board = boards[name]
    lines = iter(csv.DictReader(io.StringIO(csv_render.render(board))))
    for row in board.rows:
        for cell in row.cells:
            line = next(lines)
            # A formula would be led by an apostrophe; published values have signs of their own.
            assert line["published_sign"] + line["published"].lstrip("'") == cell.printed
            ours = (line[field] for field in ("sign", "value", "interval", "words"))
            assert " ".join(part for part in ours if part) == cell.text
            assert line["difference"].lstrip("'") == cell.difference
            assert line["budget_share"] == cell.budget_share
            assert line["published_best"] == ("yes" if cell.published_best else "")
            assert line["best"] == ("yes" if cell.best else "")
    assert next(lines, None) is None


@pytest.mark.parametrize("name", TABLES)
def test_parquet_has_what_csv_has(boards: dict[str, Board], name: str, tmp_path: Path) -> None:
    path = tmp_path / "board.parquet"
    path.write_bytes(parquet.render(boards[name]))
    with duckdb.connect() as connection:
        cursor = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    assert names == list(FIELDS)
    lines = list(csv.DictReader(io.StringIO(csv_render.render(boards[name]))))
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        for field, kind in FIELDS.items():
            value, text = row[field], line[field]
            if kind is bool:
                assert (value, text) in ((True, "yes"), (False, ""))
            elif kind is float:
                assert (value is None and text == "") or value == float(text)
            elif kind is int:
                assert value == int(text)
            else:
                assert value == text or f"'{value}" == text


@pytest.mark.parametrize("name", TABLES)
def test_markdown_has_every_cell(boards: dict[str, Board], name: str) -> None:
    board = boards[name]
    table = [line for line in markdown.render(board).splitlines() if line.startswith("|")][2:]
    lead = 2 if board.group_header else 1
    lines = [re.split(r"(?<!\\)\|", line)[1 + lead : -1] for line in table]
    lines = [line for line in lines if any(cell.strip() for cell in line)]  # without group names
    filled = [row for row in cells(board) if any(parts(cell) for cell in row)]
    for row, line in zip(filled, lines, strict=True):
        for cell, text in zip(row, line, strict=True):
            plain = re.sub(r"<sup>.*?</sup>|\*\*|~~|<br>", " ", text).replace("\\", "")
            assert in_order(parts(cell), plain)
            assert bool(plain.strip()) == bool(parts(cell))
            assert ("**" in text) == (cell.best or cell.published_best)
            assert ("~~" in text) == cell.struck


@pytest.mark.parametrize("name", TABLES)
def test_the_terminal_has_every_cell(boards: dict[str, Board], name: str) -> None:
    board = boards[name]
    console = Console(width=1000, file=io.StringIO(), record=True)
    console.print(terminal.render([board]))
    lines = console.export_text().splitlines()
    lead = len(board.group_header) and max(len(group.name) for group in board.groups) + 1
    said = [re.sub(r"(?<= )[a-z] (?=[^ ])", "", line) for line in [*lines, ""]]
    at = 0
    for row in board.rows:
        # A cell's parts stand one below the other.
        stacked = [
            [p for p in (cell.printed, " ".join(parts(cell)[bool(cell.printed) :])) if p]
            for cell in row.cells
        ]
        first = [cell[0] for cell in stacked if cell]
        at = next(
            i
            for i in range(at, len(lines))
            if lines[i][lead:].lstrip().startswith(row.name + row.mark)
            and in_order(first, said[i][lead + len(row.name) :])
        )
        assert in_order([cell[1] for cell in stacked if len(cell) > 1], said[at + 1])
        at += 1


@pytest.mark.parametrize("name", TABLES)
def test_latex_has_every_cell(boards: dict[str, Board], name: str) -> None:
    board = boards[name]
    lines = iter(latex.render(board).splitlines())
    for row in board.rows:
        theirs = [cell.printed for cell in row.cells]
        wanted = [latex.escape(text) for text in theirs]
        if any(theirs):
            assert any(in_order(wanted, line) for line in lines), row.name
        ours = [
            latex.escape(part) for cell in row.cells for part in parts(cell)[bool(cell.printed) :]
        ]
        if ours:
            assert any(in_order(ours, line) for line in lines), row.name


class Cells(HTMLParser):
    """The text of each row of the page's board, without what a click would open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[str] = []
        self._depth = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._depth += 1
        if tag == "tr" and self._depth:
            self.rows.append("")

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag == "table"

    def handle_data(self, data: str) -> None:
        if self.rows and self._depth:
            self.rows[-1] += data


@pytest.mark.parametrize("name", TABLES)
def test_html_has_every_cell(boards: dict[str, Board], name: str) -> None:
    board = boards[name]
    lines = iter(Cells(html.render(board)).rows)
    for row in board.rows:
        wanted = [row.name]
        for cell in row.cells:
            wanted += [text for text in (cell.printed, cell.value or cell.words) if text]
        assert any(all(in_order([text], line) for text in wanted) for line in lines), row.name


@pytest.mark.slow
def test_the_same_store_gives_the_same_bytes(results: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    for directory in reversed(list(attempt_dirs(results))):
        ingest(again, [directory])
    write_check(again, mirrored.check("realnvp:cifar10"))
    suites = [mirrored.suite(name) for name in ("denseflow-1", "nanoflow-4")]
    written: list[dict[str, bytes]] = []
    for folder in (results, again):
        found = suite_boards(folder, suites, with_details=True)
        paths = write_boards(found, tmp_path / f"out-{len(written)}", FORMATS)
        written.append({path.name: path.read_bytes() for path in paths})
    assert written[0] == written[1]
    assert len(written[0]) == len(FORMATS) * len(suites) + 2


def test_a_hostile_board_is_inert_in_latex() -> None:
    text = latex.escape("\\input{x} $a_b$ 100% {x} ~^#&\x1b[31m\u202e 中 é ñ ć")
    assert "\\input" not in text
    assert text.isascii()
    assert "[U+4E2D]" in text
    assert "\\v{c}" not in text


def _tex() -> str:
    found = shutil.which("pdflatex")
    if found is None and os.environ.get("FLOWBENCH_REQUIRE_TOOLS"):
        pytest.fail("pdflatex is missing, and FLOWBENCH_REQUIRE_TOOLS asks for it")
    if found is None:
        pytest.skip("pdflatex is not installed (Debian: texlive-latex-recommended)")
    return found


@pytest.mark.parametrize("name", ["denseflow-1", "denseflow-4", "nanoflow-4", "nf-overview-matrix"])
def test_latex_compiles(boards: dict[str, Board], name: str, tmp_path: Path) -> None:
    program = _tex()
    (tmp_path / "board.tex").write_text(latex.render(boards[name]))
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{amssymb,booktabs,longtable}"
        "\\begin{document}Text.\\input{board.tex}More.\\end{document}"
    )
    for source in ("board.tex", "paper.tex"):
        done = subprocess.run(
            [program, "-interaction=nonstopmode", "-halt-on-error", source],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:]
        assert (tmp_path / source).with_suffix(".pdf").stat().st_size > 1000
