"""Claims judged by what a results folder holds."""

from __future__ import annotations

from pathlib import Path

from flowbench.leaderboard.board.table import Board
from flowbench.leaderboard.build.claimed import JudgedTest, behind, judge_claims
from flowbench.leaderboard.build.from_claims import board_of_claims
from flowbench.leaderboard.publish import completed, reading
from flowbench.suite.claims import ClaimsFile


def judged_claims(results: Path, file: ClaimsFile) -> list[JudgedTest]:
    """Judges all tests of a claims file.

    Args:
        results: The results folder; without any results nothing has been run.
    """
    with reading(results) as (_, source):
        return judge_claims(file, source)


def claims_board(results: Path, file: ClaimsFile, *, with_details: bool = False) -> Board:
    """Lays out the board of a claims file, with what a results folder holds for it.

    Args:
        with_details: Load curves too.
    """
    with reading(results) as (folder, source):
        judged = judge_claims(file, source)
        if with_details:
            shown = {r.attempt_id: r for m in behind(judged) for r in m.records}
            source = completed(folder, source, list(shown.values()), with_details=True)
        return board_of_claims(file, judged, source)
