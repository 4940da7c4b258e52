"""Claims judged by what a results folder holds."""

from __future__ import annotations

from pathlib import Path

from flowbench.leaderboard.build.claimed import JudgedTest, judge_claims
from flowbench.leaderboard.publish import reading
from flowbench.suite.claims import ClaimsFile


def judged_claims(results: Path, file: ClaimsFile) -> list[JudgedTest]:
    """Judges all tests of a claims file.

    Args:
        results: The results folder; without any results nothing has been run.
    """
    with reading(results) as (_, source):
        return judge_claims(file, source)
