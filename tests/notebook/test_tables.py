from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flowbench
from flowbench.errors import LeaderboardError, SuiteError
from flowbench.notebook import display
from tests.leaderboard import mirrored
from tests.store import attempts


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mirrored.store(tmp_path_factory.mktemp("results"))


def test_results_are_tidy_or_wide(stored: Path) -> None:
    tidy = flowbench.results(stored)
    assert {"job_id", "model", "metric", "name", "value", "unit", "stderr"} <= set(tidy.columns)
    assert len(tidy) == tidy.drop_duplicates(["attempt_id", "name", "split"]).shape[0]
    wide = flowbench.results(stored, wide=True)
    assert len(wide) == tidy["job_id"].nunique()
    job = wide[wide["bpd"].notna()].iloc[0]
    of_job = tidy[(tidy["job_id"] == job["job_id"]) & (tidy["name"] == "bpd")]
    assert job["bpd"] in of_job["value"].tolist()
    some = flowbench.results(stored, jobs=[job["job_id"]], wide=True)
    assert some["job_id"].tolist() == [job["job_id"]]


def test_a_job_without_values_has_its_row(tmp_path: Path) -> None:
    attempts.write(tmp_path, attempts.attempt(status="crashed", reason="no", measurements=()))
    wide = flowbench.results(tmp_path, wide=True)
    assert wide[["status"]].values.tolist() == [["crashed"]]
    assert flowbench.results(tmp_path)["value"].isna().all()


def test_of_one_name_on_two_splits_wide_shows_the_test_split(tmp_path: Path) -> None:
    both = [
        attempts.measured("bpd", value, "bits/dim", split=split)
        for split, value in (("test", 2.0), ("validation", 3.0))
    ]
    attempts.write(tmp_path, attempts.attempt(measurements=tuple(both)))
    assert flowbench.results(tmp_path, wide=True)["bpd"].tolist() == [2.0]


def test_curves_are_the_looks_of_one_job(stored: Path) -> None:
    frame = flowbench.results(stored, wide=True)
    trained = frame[frame["status"] == "ok"]["job_id"].iloc[0]
    found = flowbench.curves(trained, results=stored)
    assert found["step"].is_monotonic_increasing
    assert {"charged_s", "progress", "bpd"} <= set(found.columns)


def test_a_board_is_a_frame_a_page_and_what_a_notebook_shows(stored: Path) -> None:
    board = flowbench.board("denseflow-1", results=stored)
    assert board.to_frame()["method"].str.contains("GLOW").any()
    page = board.to_html()
    assert page.startswith("<!doctype html>")
    shown = board._repr_html_()
    assert shown.startswith("<iframe title=")
    assert shown.count("<iframe") == 1
    assert "<!doctype" not in shown  # escaped: the page must not leave its frame
    assert "GLOW" in repr(board)


def test_a_page_holds_one_board(stored: Path) -> None:
    two = flowbench.board("denseflow-1", "denseflow-3", results=stored, details=False)
    assert set(two.to_frame()["board"]) == {"denseflow-1", "denseflow-3"}
    with pytest.raises(LeaderboardError, match=r"2 boards \(denseflow-1, denseflow-3\)"):
        two.to_html()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"models": "glow,nice"}, r"models is 'glow,nice'; expected a list: .*'glow', 'nice'"),
        ({"datasets": ["digits"]}, "nothing to run"),
        ({"models": ["glow"], "seeds": [-1]}, "seeds"),
        ({"models": ["glow"], "protocol": {"draws": 3}}, "draws"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_starts(
    asked: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SuiteError, match=message):
        flowbench.run(results=tmp_path, **asked)
    assert list(tmp_path.iterdir()) == []


def test_a_cell_shows_what_changes_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def show(html: str, display_id: bool) -> SimpleNamespace:
        assert display_id
        shown.append(html)
        return SimpleNamespace(update=shown.append)

    fake = SimpleNamespace(HTML=str, display=show)
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    with display._live("[bold]all[/] of them"):
        pass
    assert len(shown) == 2
    assert all(html.startswith("<pre") and "all<" in html for html in shown)


@pytest.mark.parametrize("kernel", [True, False])
def test_a_terminal_of_ipython_is_no_notebook(
    kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = SimpleNamespace(kernel=None) if kernel else SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert display.in_notebook() is kernel
