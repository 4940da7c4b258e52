from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.cli.command import Command
from tests.leaderboard import mirrored


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mirrored.store(tmp_path_factory.mktemp("results"), failing="glow:512ch")


@pytest.fixture
def results(stored: Path, tmp_path: Path) -> Path:
    """A copy that a test may write to."""
    return Path(shutil.copytree(stored, tmp_path / "results"))


def test_a_papers_table_needs_no_results(flowbench: Command, tmp_path: Path) -> None:
    formats = [part for name in ("md", "csv", "latex", "parquet") for part in ("--format", name)]
    status, out, _ = flowbench("leaderboard", "denseflow-3", "tarflow-bpd64", *formats)
    assert status == 0
    written = out.split()
    assert sorted(Path(path).suffix for path in written) == sorted(
        [".md", ".csv", ".tex", ".parquet"] * 2
    )
    assert "| DCGAN | 37.11 |" in (tmp_path / "boards" / "denseflow-3.md").read_text("utf-8")


def test_a_board_in_the_terminal_writes_no_file(flowbench: Command, tmp_path: Path) -> None:
    status, out, _ = flowbench("leaderboard", "denseflow-1", "--format", "terminal")
    assert status == 0
    assert "Wavelet Flow" in out
    assert list(tmp_path.iterdir()) == []


def test_strict_names_what_is_not_to_be_trusted(
    flowbench: Command, results: Path, tmp_path: Path
) -> None:
    asked = ["leaderboard", "denseflow-1", "--format", "csv", "--out", str(tmp_path / "out")]
    asked += ["--results", str(results)]
    assert flowbench(*asked)[0] == 0
    status, _, err = flowbench(*asked, "--strict")
    assert status == 1
    problems = err.splitlines()
    assert "denseflow-1 / GLOW: contract ×" in problems
    assert "denseflow-1 / Real NVP / CIFAR-10: n=1" in problems
    assert "denseflow-1 / Real NVP / CelebA: × out of memory" in problems


def test_folders_give_each_board_a_page_that_leads_back(flowbench: Command, tmp_path: Path) -> None:
    asked = ["denseflow-3", "--folders", "--format", "html", "--format", "csv"]
    asked += ["--results", str(tmp_path / "none"), "--out", str(tmp_path)]
    status, out, _ = flowbench("leaderboard", *asked)
    assert status == 0
    written = [Path(line).relative_to(tmp_path) for line in out.splitlines()]
    page = Path("denseflow-3", "index.html")
    twins = [Path("index.md"), page.with_name("board.md")]
    files = [Path("index.html"), page, page.with_name("denseflow-3.csv"), *twins]
    assert written == [*files, Path("index.json")]
    for file in ("index.html", str(page)):
        text = (tmp_path / file).read_text("utf-8")
        links = [link for link in re.findall(r'href="([^"#]+)"', text) if "://" not in link]
        assert links
        assert all((tmp_path / file).parent.joinpath(link).is_file() for link in links)


@pytest.mark.parametrize("folders", [("--folders",), ()])
def test_one_board_keeps_the_others_in_the_list(
    flowbench: Command, tmp_path: Path, folders: tuple[str, ...]
) -> None:
    given = ["--results", str(tmp_path / "none"), "--out", str(tmp_path / "out"), *folders]
    for suites in (["denseflow-3", "tarflow-bpd64"], ["denseflow-1"], ["denseflow-3"]):
        assert flowbench("leaderboard", *suites, *given)[0] == 0
    names = ("denseflow-1", "denseflow-3", "tarflow-bpd64")
    files = [f"{name}/index.html" if folders else f"{name}.html" for name in names]
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert re.findall(r'<a href="([^"#]+)"', page) == files
    assert all((tmp_path / "out" / file).is_file() for file in files)
    (tmp_path / "out" / files[1]).unlink()
    assert flowbench("leaderboard", "denseflow-1", *given)[0] == 0
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert re.findall(r'<a href="([^"#]+)"', page) == [files[0], files[2]]


def test_a_board_that_was_alone_stays_beside_a_second_one(
    flowbench: Command, tmp_path: Path
) -> None:
    given = ["--results", str(tmp_path / "none"), "--out", str(tmp_path)]
    assert flowbench("leaderboard", "denseflow-3", *given)[0] == 0
    alone = (tmp_path / "index.html").read_bytes()
    assert flowbench("leaderboard", "denseflow-1", *given)[0] == 0
    page = (tmp_path / "index.html").read_text("utf-8")
    assert re.findall(r'<a href="([^"#]+)"', page) == ["denseflow-1.html", "denseflow-3.html"]
    assert (tmp_path / "denseflow-3.html").read_bytes() == alone


def test_a_board_that_was_alone_and_is_written_anew_is_written_once(
    flowbench: Command, tmp_path: Path
) -> None:
    given = ["--results", str(tmp_path / "none"), "--out", str(tmp_path)]
    assert flowbench("leaderboard", "denseflow-3", *given)[0] == 0
    (tmp_path / "index.html").write_text("of an earlier day")
    _, out, _ = flowbench("leaderboard", "denseflow-3", "denseflow-1", *given)
    names = [Path(line).name for line in out.splitlines()]
    assert names == ["index.html", "denseflow-3.html", "denseflow-1.html", "index.json"]
    assert "of an earlier day" not in (tmp_path / "denseflow-3.html").read_text("utf-8")


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1}', '{"a": {}}'])
def test_a_list_that_cannot_be_read_is_written_anew(
    flowbench: Command, tmp_path: Path, text: str
) -> None:
    (tmp_path / "index.json").write_text(text)
    given = ["--results", str(tmp_path / "none"), "--out", str(tmp_path), "--folders"]
    assert flowbench("leaderboard", "denseflow-3", *given)[0] == 0
    assert set(json.loads((tmp_path / "index.json").read_text("utf-8"))) == {"denseflow-3"}


@pytest.mark.slow
def test_exported_suites_make_the_same_page(
    flowbench: Command, results: Path, tmp_path: Path
) -> None:
    status, out, _ = flowbench("results", "export", "denseflow-1", "--results", str(results))
    kept = results / "reference"
    assert status == 0
    assert out.split() == [str(kept / "kept" / "denseflow-1.jsonl")]
    pages = []
    for folder in (results, kept):
        asked = ["denseflow-1", "--results", str(folder), "--out", str(tmp_path / "out")]
        assert flowbench("leaderboard", *asked)[0] == 0
        pages.append((tmp_path / "out" / "index.html").read_bytes())
    assert pages[0] == pages[1]
    assert "≤ 3.05".encode() in pages[0]


@pytest.mark.slow
def test_kept_results_are_read_without_a_database(
    flowbench: Command, results: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    from_store, to_kept = ("--results", str(results)), ("--out", str(kept))
    assert flowbench("results", "export", "denseflow-1", *from_store, *to_kept)[0] == 0

    def printed(*arguments: str) -> str:
        status, out, _ = flowbench("results", *arguments, "--results", str(kept))
        assert status == 0
        return out

    listed = json.loads(printed("list", "--json"))
    assert len(listed) == 12
    first = next(one["name"] for one in listed if one["status"] == "ok")
    assert json.loads(printed("show", first))["attempt_id"] == first
    assert "left no log" in printed("logs", first)
    assert json.loads(printed("query", "select count(*) as n from attempts", "--json")) == [
        {"n": 12}
    ]
    assert printed("export", "--out", str(tmp_path / "all.csv")).strip() == str(
        tmp_path / "all.csv"
    )
    assert sorted(path.name for path in kept.iterdir()) == ["checks", "kept"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits"], "start with `flowbench run digits`"),
        (["denseflow-9"], "did you mean"),
        (["--all", "digits"], "leave out --all or the names"),
        (["denseflow-1", "--format", "pdf"], "expected html, md, latex, csv, parquet"),
    ],
)
def test_errors_say_what_to_do(flowbench: Command, arguments: list[str], message: str) -> None:
    status, _, err = flowbench("leaderboard", *arguments)
    assert status == 1
    assert message in err
