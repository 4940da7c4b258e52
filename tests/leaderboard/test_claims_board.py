from __future__ import annotations

from pathlib import Path

import pytest

from flowbench.leaderboard import keep_claims, suite_boards, write_boards
from flowbench.leaderboard.board.table import Board
from flowbench.leaderboard.claims import claims_board, judged_claims
from flowbench.leaderboard.render import latex, markdown
from flowbench.leaderboard.render.html import render
from tests.leaderboard.claimed import CLAIMS, GOOD, records
from tests.store import attempts


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for record in records(GOOD):
        attempts.write(tmp_path / "r", record)
    return tmp_path / "r"


@pytest.fixture
def board(results: Path) -> Board:
    return claims_board(results, CLAIMS, with_details=True)


def test_a_row_has_both_effects_what_is_claimed_and_the_verdict(board: Board) -> None:
    better, worse, maf, none = board.rows
    effect, claimed, verdict = better.cells
    assert (effect.printed, claimed.printed) == ("+0.010", "≥ +0.050")
    assert (effect.value, verdict.value) == ("+0.200 bits/dim", "supported*")
    assert effect.interval.endswith("], n=3")
    assert worse.cells[2].value == "contradicted*"
    assert (maf.cells[2].words, none.cells[2].words) == ("– not run", "– untestable")
    assert none.sub == "none; ; missing: wings"
    assert [group.name for group in board.groups] == ["DenseFlow", "X"]
    assert board.facts[:4] == ("4 claims", "3 tests", "1 supported", "1 contradicted")
    assert "By chance at most 0.1 verdicts are false." in board.caveats


def test_each_row_opens_to_the_runs_behind_it(board: Board) -> None:
    better = next(iter(board.rows))
    test, glow, nice = better.details
    assert ("Note", "At a small size.") in test.facts
    assert (glow.heading, nice.heading) == ("digits, Glow", "digits, Nice")
    assert "--models glow:small" in glow.command
    assert better.citation is not None
    assert better.citation.key == "grcic2021densely"
    page = render(board)
    assert "Glow &lt;beats&gt; NICE." in page
    assert "--models nice:small" in page


def test_published_effects_are_drawn_against_measured_ones(board: Board) -> None:
    assert [e.published for e in board.effects] == pytest.approx([0.01, 0.06])
    assert [e.measured for e in board.effects] == pytest.approx([0.2, -0.2])
    page = render(board)
    assert "Published against measured effects" in page
    assert "1 of 2 have the same sign." in page


def test_it_is_a_board_in_every_format(board: Board, tmp_path: Path) -> None:
    paths = write_boards([board], tmp_path, ["html", "md", "latex", "csv", "parquet"])
    assert {path.name for path in paths} >= {"index.html", "claims.md", "claims.tex", "claims.csv"}
    assert "supported" in markdown.render(board)
    assert "contradicted*" in latex.render(board)
    frame = board.to_frame()
    assert frame[frame.column == "Verdict"].value.tolist()[:2] == ["supported*", "contradicted*"]


def test_what_is_kept_as_text_makes_the_same_page(results: Path, tmp_path: Path) -> None:
    keep_claims(results, CLAIMS, tmp_path / "kept")
    assert render(claims_board(tmp_path / "kept", CLAIMS, with_details=True)) == render(
        claims_board(results, CLAIMS, with_details=True)
    )
    assert not suite_boards(tmp_path / "kept", [])
    verdicts = [one.verdict for one in judged_claims(tmp_path / "kept", CLAIMS)]
    assert verdicts == ["supported", "contradicted", "not run"]
