from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from flowbench.api import Artifact
from flowbench.code_hash import core_sha256
from flowbench.errors import LeaderboardError
from flowbench.leaderboard import boards, terminal_table, write_boards
from flowbench.leaderboard.board.problems import problems
from flowbench.leaderboard.board.table import Board
from flowbench.leaderboard.render import csv as csv_render
from flowbench.leaderboard.render import html, markdown, terminal
from flowbench.store import queries
from flowbench.store.attempt_files import attempt_dirs
from flowbench.store.ingest import ingest
from flowbench.store.records import AttemptRow
from tests.store import attempts as make

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"`|${1}\x1b[31m\u202eevil"
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for model, bpd in (("realnvp", 2.1), ("glow", 2.0), (HOSTILE, 2.3)):
        for seed in range(2):
            value = bpd + 0.01 * seed
            measured = (
                make.measured("bpd", value, "bits/dim", n=360, protocol=make.UNIFORM_BOUND),
                *make.measurements(value)[2:],
            )
            record = make.attempt(
                make.job(model, seed, overrides={"note": HOSTILE}), measurements=measured
            )
            make.write(
                folder,
                record,
                curves=make.curve(value),
                artifacts=make.grid(seed),
                values=make.log_prob(value),
            )
    failed = make.failed(make.job("maf"), "crashed").model_copy(
        update={"reason": HOSTILE, "log_tail": f"Traceback\n{HOSTILE}"}
    )
    make.write(folder, failed)
    ingest(folder, attempt_dirs(folder))
    return folder


@pytest.fixture(scope="module")
def board(results: Path) -> Board:
    return boards(results, with_details=True)[0]


def written(results: Path, out: Path, *formats: str) -> list[Path]:
    """The files of all boards of a results folder."""
    return write_boards(boards(results, with_details=True), out, formats)


class Page(HTMLParser):
    """What a browser would make of a page: elements, attributes, and the cells of the table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.rows: list[list[str]] = []
        self.raw: list[tuple[str, str]] = []
        self._open: list[str] = []
        self._in_board = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        named = dict(attrs)
        if named.get("id"):
            self.ids.append(str(named["id"]))
        self._open.append(tag)
        if tag == "table":
            self._in_board = named.get("id") == "board"
        if tag == "tr" and self._in_board:
            self.rows.append([])
        if tag in ("td", "th") and self._in_board:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass
        if tag == "table":
            self._in_board = False

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside in ("script", "style"):
            self.raw.append((inside, data))
        elif self._in_board and self.rows and self.rows[-1] and "caption" not in self._open:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def page(board: Board) -> Page:
    return Page(html.render(board))


def squeeze(text: str) -> str:
    return re.sub(r"\s", "", text)


def test_every_rendering_has_the_same_cells(board: Board, page: Page) -> None:
    lines = list(csv.DictReader(io.StringIO(csv_render.render(board))))
    console = Console(width=400, file=io.StringIO(), record=True)
    console.print(terminal.render([board]))
    printed = console.export_text()
    table = [line for line in markdown.render(board).splitlines() if line.startswith("|")][2:]
    rendered = iter(lines)
    for row, shown, line in zip(board.rows, page.rows[1:], table, strict=True):
        cells = re.split(r"(?<!\\)\|", line)[2:-1]
        for cell, in_page, in_markdown in zip(row.cells, shown[1:], cells, strict=True):
            expected = squeeze(cell.text)
            assert squeeze(in_page).startswith(expected)
            plain = in_markdown.replace("**", "").replace("&lt;", "<").replace("\\", "")
            assert squeeze(plain).startswith(expected)
            in_csv = next(rendered)
            text = " ".join(in_csv[name] for name in ("sign", "value", "interval", "words"))
            assert squeeze(text) == expected
            assert cell.text in printed


def test_csv_keeps_full_precision(board: Board) -> None:
    lines = csv.DictReader(io.StringIO(csv_render.render(board)))
    means = [float(line["mean"]) for line in lines if line["metric"] == "bpd" and line["mean"]]
    assert means == [pytest.approx(2.005), pytest.approx(2.105), pytest.approx(2.305)]


def test_csv_starts_no_formula(board: Board) -> None:
    for line in csv.reader(io.StringIO(csv_render.render(board))):
        assert not any(field.startswith(("+", "@", "=cmd")) for field in line)


def test_hostile_text_is_inert_in_html(page: Page) -> None:
    assert page.tags.count("script") == 2
    assert page.tags.count("style") == 1
    assert not [a for a in page.attributes if a[1].startswith("on") or a[1] == "style"]
    assert {v[:22] for _, n, v in page.attributes if n == "src"} == {"data:image/png;base64,"}
    links = {v for _, n, v in page.attributes if n in ("href", "action", "srcset")}
    assert all(link.startswith("#") for link in links)
    assert not [text for _, text in page.raw if "alert(1)" in text]


def test_no_control_or_direction_mark_reaches_any_rendering(board: Board) -> None:
    stream = io.StringIO()
    Console(width=200, file=stream, force_terminal=False).print(terminal.render([board]))
    printed = stream.getvalue()
    for text in (html.render(board), markdown.render(board), printed):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "evil" in text


def test_a_long_line_below_a_name_leaves_values_their_room(board: Board) -> None:
    asked = "sampled by guidance=3,solver=midpoint,steps=16; uniform evidence bound, 16 draws"
    group = board.groups[0]
    rows = tuple(replace(row, name="flow-matching:tiny-cond", sub=asked) for row in group.rows)
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(terminal.render([replace(board, groups=(replace(group, rows=rows),))]))
    text = console.export_text()
    assert "steps=16;\n" in "\n".join(line.rstrip() for line in text.splitlines())
    values = [cell["value"] for cell in board.to_frame().to_dict("records") if cell["value"]]
    assert values[0] in text


def test_hostile_text_is_inert_in_markdown(board: Board) -> None:
    text = markdown.render(board)
    assert "<script" not in text.replace("\\<", "")
    assert "onerror" in text


def test_the_policy_allows_what_the_page_has_and_nothing_else(board: Board, page: Page) -> None:
    (policy,) = (v for _, n, v in page.attributes if v.startswith("default-src"))
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    allowed = {part.split()[0]: part.split()[1:] for part in policy.split("; ")}
    found: dict[str, list[str]] = {"script-src": [], "style-src": []}
    for kind, text in page.raw:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        found[f"{kind}-src"].append(f"'sha256-{digest}'")
    assert {kind: allowed[kind] for kind in found} == found
    assert allowed["img-src"] == ["data:"]


def test_ids_are_unique_and_references_resolve(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    used = {v[1:] for _, n, v in page.attributes if n == "href" and v.startswith("#")}
    used |= {v[5:-1] for _, _, v in page.attributes if v.startswith("url(#")}
    assert used <= set(page.ids)


def test_headers_name_what_they_head(page: Page) -> None:
    scopes = [(tag, value) for tag, name, value in page.attributes if name == "scope"]
    assert {"col", "row"} <= {value for _, value in scopes}
    assert "caption" in page.tags
    assert ("html", "lang", "en") in page.attributes


@pytest.mark.slow
def test_the_same_store_gives_the_same_bytes(results: Path, tmp_path: Path) -> None:
    formats = ("html", "md", "csv")
    first = [p.read_bytes() for p in written(results, tmp_path / "a", *formats)]
    again = tmp_path / "again"
    for directory in reversed(list(attempt_dirs(results))):
        ingest(again, [directory])
    second = [p.read_bytes() for p in written(again, tmp_path / "b", *formats)]
    assert first == second


def test_several_boards_get_an_index(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    for budget in ("60s", "5000steps"):
        make.write(folder, make.attempt(make.job(budget=budget)))
    ingest(folder, attempt_dirs(folder))
    *files, data = written(folder, tmp_path / "out", "html")
    assert data.name == "index.json"
    names = [path.name for path in files]
    assert names == ["index.html", "digits-5000steps.html", "digits-60s.html"]
    links = [v for t, n, v in Page(files[0].read_text()).attributes if (t, n) == ("a", "href")]
    assert links[1:] == names[1:]


def test_the_records_of_one_board_are_read_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [make.job("glow", seed, budget=f"{n}steps") for n in (1, 2, 3) for seed in (0, 1)]
    for job in jobs:
        make.write(tmp_path, make.attempt(job))
    read, asked = queries.standing_attempts, []

    def counted(results: Path, job_ids: Sequence[str] | None = None) -> list[AttemptRow]:
        found = read(results, job_ids)
        asked.append(len(found))
        return found

    monkeypatch.setattr(queries, "standing_attempts", counted)
    assert len(boards(tmp_path)) == 3
    assert asked == [2, 2, 2]


def test_a_board_can_be_limited_to_jobs(results: Path) -> None:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(terminal_table(results, [make.job("maf").job_id]))
    printed = console.export_text()
    assert "× crashed" in printed
    assert "glow" not in printed


def test_results_of_another_core_are_stale_where_they_were_made(tmp_path: Path) -> None:
    for model, core in (("glow", core_sha256()), ("maf", "other")):
        make.write(tmp_path, make.attempt(make.job(model), core_code=core))
    ingest(tmp_path, attempt_dirs(tmp_path))
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(terminal_table(tmp_path))
    stale = {
        line.split()[0]: "[stale]" in line
        for line in console.export_text().splitlines()
        if line.startswith(("glow", "maf"))
    }
    assert stale == {"glow:small": False, "maf:small": True}


@pytest.mark.parametrize(
    ("budget", "waits", "contended"),
    [
        ("60s", (0.0, 30.0), True),  # one run of two
        pytest.param("60s", (5.0, None), False, marks=pytest.mark.slow),
        pytest.param("5000steps", (30.0, 30.0), False, marks=pytest.mark.slow),
    ],
)
def test_contended_rows_are_marked_and_explained_in_every_rendering(
    tmp_path: Path, budget: str, waits: tuple[float | None, ...], contended: bool
) -> None:
    for seed, waited in enumerate(waits):
        job = make.job("glow", seed, budget=budget)
        row = make.attempt(job, charged_s=60.0, run_delay_s=waited, core_code=core_sha256())
        make.write(tmp_path, row)
    ingest(tmp_path, attempt_dirs(tmp_path))
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(terminal_table(tmp_path))
    texts = {"terminal": console.export_text()}
    (board,) = boards(tmp_path, with_details=True)
    endings = {"html": ".html", "md": ".md", "latex": ".tex", "csv": ".csv"}
    files = {path.suffix: path for path in write_boards([board], tmp_path / "out", tuple(endings))}
    for format_, ending in endings.items():
        texts[format_] = files[ending].read_text(encoding="utf-8")
    (glow,) = board.rows
    assert glow.badges == (("contended",) if contended else ())
    assert set(board.to_frame()["badges"]) == {"contended" if contended else ""}
    told = {name for name, text in texts.items() if "contended" in text}
    explained = {name for name, text in texts.items() if "waited for a core for more than" in text}
    assert told == (set(texts) if contended else set())
    assert explained == (set(texts) - {"csv"} if contended else set())
    assert any("contended" in problem for problem in problems(board)) == contended


def test_what_a_row_waited_is_among_its_facts(tmp_path: Path) -> None:
    for seed, waited in enumerate((1.2, 7.8, None)):
        row = make.attempt(make.job("glow", seed), charged_s=60.0, run_delay_s=waited)
        make.write(tmp_path, row)
    ingest(tmp_path, attempt_dirs(tmp_path))
    page = written(tmp_path, tmp_path / "out", "html")[0].read_text(encoding="utf-8")
    assert "Waited for a core</dt><dd>13\u00a0% of training" in page


def test_errors_say_what_to_do(results: Path, tmp_path: Path) -> None:
    with pytest.raises(LeaderboardError, match="expected html, md, latex, csv, parquet"):
        written(results, tmp_path, "pdf")
    with pytest.raises(LeaderboardError, match="flowbench run"):
        boards(results, ["nothing"])
    (tmp_path / "file").write_text("")
    with pytest.raises(LeaderboardError, match="--out"):
        written(results, tmp_path / "file" / "out", "csv")


def test_samples_can_be_heard_and_read_on_the_page_without_a_network(tmp_path: Path) -> None:
    long = Artifact(name="long", media_type="audio/wav", content=bytes(2_000_000))
    text = Artifact(name="words", media_type="text/plain", content=b"one <b>two</b> " * 500)
    others = tuple(
        Artifact(name=f"note {n}", media_type="text/plain", content=b"n") for n in range(3)
    )
    artifacts = (*make.clips(2), long, text, *others)
    make.write(tmp_path, make.attempt(make.job("glow")), artifacts=artifacts)
    ingest(tmp_path, attempt_dirs(tmp_path))
    page = html.render(boards(tmp_path, with_details=True)[0])
    heard = "data:audio/wav;base64," + base64.b64encode(b"RIFF").decode()
    assert f'aria-label="clip 1" src="{heard}"' in page
    assert page.count("<audio") == 2
    assert "Too long for this page: 2,000 kB in the run's folder." in page
    assert "one &lt;b&gt;two" in page
    assert "3 more in the run" in page
    assert "media-src data:;" in page
    assert len(page) < 500_000


def test_a_page_with_nothing_to_hear_allows_no_sounds(board: Board) -> None:
    assert "media-src" not in html.render(board)
