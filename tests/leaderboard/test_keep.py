"""Results kept as text make the same pages as the results that they were taken from."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowbench.errors import LeaderboardError
from flowbench.leaderboard import keep_suites, suite_boards, write_boards
from flowbench.leaderboard.build.claimed import CLAIMS_BOARD
from flowbench.leaderboard.claims import claims_board
from flowbench.store.attempt_files import attempt_dirs
from flowbench.store.checks import latest_checks, write_check
from flowbench.store.connection import database_path
from flowbench.store.ingest import ingest
from flowbench.store.kept import kept_attempts
from flowbench.store.reconcile import readable
from flowbench.store.records import CurvePoint
from flowbench.suite.claims import load_claims
from flowbench.suite.find import SUITE_FOLDERS
from tests.leaderboard import mirrored
from tests.store import attempts as make

CHECKOUT = SUITE_FOLDERS[0].parent
REFERENCE, PAGES = CHECKOUT / "results" / "reference", CHECKOUT / "leaderboards"
FORMATS = ("html", "md", "latex", "csv", "parquet")
TEXT = ("html", "csv")  # pages, which bring their twins in Markdown, and tables
SUITES = ("denseflow-1", "digits")
PAIR = ("index.html", "board.md")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mirrored rows with one seed and with three, and a board of our own with single runs."""
    folder = mirrored.store(tmp_path_factory.mktemp("results"), failing="glow:512ch")
    for seed, model in enumerate(("glow", "realnvp", "nice")):
        make.write(
            folder,
            make.attempt(make.job(model), measurements=make.measurements(2.0)),
            curves=with_gaps(make.curve(2.0, points=700)),
            artifacts=make.grid(seed),
            values=make.log_prob(2.0, seed),
        )
    ingest(folder, attempt_dirs(folder))
    return folder


def with_gaps(curve: tuple[CurvePoint, ...]) -> tuple[CurvePoint, ...]:
    """A curve that has no value of the averaged weights at each fourth point."""
    return tuple(
        point if place % 4 else point.model_copy(update={"bpd_ema": None})
        for place, point in enumerate(curve)
    )


def pages(
    results: Path, out: Path, names: tuple[str, ...] = SUITES, formats: tuple[str, ...] = FORMATS
) -> dict[str, bytes]:
    suites = [mirrored.suite(name) for name in names if name != CLAIMS_BOARD]
    found = suite_boards(results, suites, with_details=True)
    if CLAIMS_BOARD in names:
        found.append(claims_board(results, load_claims(), with_details=True))
    written = write_boards(found, out, formats, folders=True)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in written}


@pytest.mark.slow
def test_kept_results_give_the_same_bytes(results: Path, tmp_path: Path) -> None:
    expected = pages(results, tmp_path / "first")
    kept = tmp_path / "kept"
    written = keep_suites(results, [mirrored.suite(name) for name in SUITES], kept)
    assert [path.name for path in written] == [f"{name}.jsonl" for name in SUITES]
    assert pages(kept, tmp_path / "second") == expected
    assert b"contract \xc3\x97" in expected["denseflow-1/index.html"]
    assert b"test sampling only" in expected["digits/index.html"]
    with readable(kept) as folder:
        assert [check.name for check in latest_checks(folder)] == ["glow:512ch"]


def test_only_what_a_board_shows_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    for seed in range(3):
        make.write(
            folder,
            make.attempt(make.job("glow", seed)),
            artifacts=make.grid(seed),
            values=make.log_prob(2.0, seed),
        )
    ingest(folder, attempt_dirs(folder))
    keep_suites(folder, [mirrored.suite("digits")], tmp_path / "kept")
    found = list(kept_attempts(tmp_path / "kept", pytest.fail))
    assert [bool(a.artifacts) for a in found] == [True, False, False]
    assert all(a.log_prob is None for a in found)


@pytest.mark.slow
def test_places_on_the_machine_are_not_kept_and_pages_stay_the_same(tmp_path: Path) -> None:
    folder, kept = tmp_path / "results", tmp_path / "kept"
    ran = make.attempt(
        make.job("glow"),
        provenance={
            "command": ["flowbench", "run", "--plugin-file", "/home/ada/mine.py"],
            "plugins": {"/home/ada/mine.py": "1"},
        },
        measurements=(
            *make.measurements(2.0),
            make.measured("fid", None, "", status="unavailable", reason="no /home/ada/.cache/w"),
        ),
    )
    trace = 'File "/home/ada/env/lib/python3.12/site-packages/torch/x.py", line 3'
    crashed = make.failed(make.job("nice"), "crashed").model_copy(update={"log_tail": trace})
    for record in (ran, crashed):
        make.write(folder, record)
    ingest(folder, attempt_dirs(folder))
    check = mirrored.check("glow", "passed").model_copy(update={"plugin": "/home/ada/mine.py"})
    write_check(folder, check)
    (file,) = keep_suites(folder, [mirrored.suite("digits")], kept)
    written = [file.read_text("utf-8"), *(f.read_text("utf-8") for f in kept.rglob("*.json"))]
    assert len(written) == 2
    assert "/home/ada" not in "".join(written)
    shown = pages(folder, tmp_path / "first", ("digits",))
    assert pages(kept, tmp_path / "second", ("digits",)) == shown
    assert b"/home/ada" not in b"".join(shown.values())
    assert b"--plugin-file mine.py" in shown["digits/index.html"]
    assert b"site-packages/torch/x.py" in shown["digits/index.html"]


@pytest.mark.slow
def test_kept_results_can_be_kept_again_without_a_database(results: Path, tmp_path: Path) -> None:
    suites = [mirrored.suite(name) for name in SUITES]
    first = keep_suites(results, suites, tmp_path / "kept")
    again = keep_suites(tmp_path / "kept", suites, tmp_path / "again")
    assert [f.read_bytes() for f in again] == [f.read_bytes() for f in first]
    assert not database_path(tmp_path / "kept").exists()


def test_a_suite_without_results_cannot_be_kept(results: Path, tmp_path: Path) -> None:
    with pytest.raises(LeaderboardError, match="flowbench run toy-2d"):
        keep_suites(results, [mirrored.suite("toy-2d")], tmp_path / "kept")


@pytest.mark.slow
def test_the_pages_in_the_repository_are_those_of_the_kept_results(tmp_path: Path) -> None:
    if not REFERENCE.is_dir():
        pytest.skip("results/reference is not here: a source distribution has no results")
    kept = {path.stem for path in (REFERENCE / "kept").glob("*.jsonl")}
    shown = tuple(path.parent.name for path in sorted(PAGES.glob("*/index.html")))
    assert {"digits", "natural-patches", "toy-2d"} <= kept <= set(shown)
    made = pages(REFERENCE, tmp_path, shown, TEXT)
    assert {"index.md", "digits/board.md"} <= set(made)
    for path, content in made.items():
        assert (PAGES / path).read_bytes() == content, f"{path} is not of these results"


@pytest.mark.slow
def test_only_files_that_change_are_written(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = pages(results, out, formats=("html",))
    assert set(first) == {
        *("index.html", "index.json", "index.md"),
        *(f"{name}/{file}" for name in SUITES for file in PAIR),
    }  # fmt: skip
    (out / "digits" / "board.md").write_text("stale")
    before = {path: (out / path).stat().st_mtime_ns for path in first}
    assert pages(results, out, formats=("html",)) == first
    after = {path: (out / path).stat().st_mtime_ns for path in first}
    assert {path for path in first if after[path] != before[path]} == {"digits/board.md"}


def test_the_twin_of_a_page_says_the_same(results: Path, tmp_path: Path) -> None:
    found = pages(results, tmp_path / "out", ("denseflow-1",), ("html",))
    assert "](denseflow-1/board.md)" in found["index.md"].decode()
    assert b'href="board.md"' in found["denseflow-1/index.html"]
    assert "2.98" in found["denseflow-1/board.md"].decode()
