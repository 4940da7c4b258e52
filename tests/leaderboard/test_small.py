"""Small counterparts of published rows, in a column of their own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats

from flowbench.leaderboard.board.table import Board
from flowbench.leaderboard.build.evidence import Source
from flowbench.leaderboard.publish import board_of_suite
from flowbench.leaderboard.render import markdown
from flowbench.store.records import AttemptRow
from flowbench.suite.claims import load_claims
from flowbench.suite.find import find_suite
from flowbench.suite.load import load_suite
from tests.store.attempts import attempt, job, measured

PUBLISHED = [3.42, 3.40, 3.37, 3.14, 3.08, 3.07]
IN_ORDER = {1: 2.5, 2: 2.4, 3: 2.3, 4: 2.2, 5: 2.1, 6: 2.0}
SEEDS = 3


def board_of(values: Mapping[int, float], spread: float = 0.0) -> Board:
    """The board of denseflow-4, with small runs of some rows."""
    suite, claims = load_suite(find_suite("denseflow-4")), load_claims()
    assert suite.board is not None
    assert suite.board.small is not None
    rng = np.random.default_rng(0)
    records: list[AttemptRow] = []
    for label, mean in values.items():
        run = claims.runs[suite.board.small.runs[str(label)]]
        asked = {"preset": "digits", "overrides": dict(run.set), "budget": run.budget}
        asked |= {"protocol": run.protocol.model_dump(mode="json")}
        for seed in range(SEEDS):
            bpd = measured("bpd", mean + spread * rng.normal(), "bits/dim", role="quality")
            records.append(attempt(job(run.name, seed, **asked), measurements=(bpd,)))
    return board_of_suite(suite, Source(records=records))


def test_they_stand_beside_the_published_values_and_are_ranked_with_nothing() -> None:
    board = board_of(IN_ORDER)
    column = board.columns[-1]
    assert (column.label, column.under) == ("Small counterpart", "digits, 800\u00a0steps")
    cells = [row.cells[-1] for row in board.rows]
    assert [cell.value for cell in cells] == [f"{v:.3f}" for v in IN_ORDER.values()]
    assert all(cell.unlike and cell.note and not cell.rank and not cell.best for cell in cells)
    assert all(row.cells[-2].published and not row.cells[-2].value for row in board.rows)
    first = next(iter(board.rows))
    assert "--set denseflow.coupling=convolutional" in first.details[-1].command
    assert "other data and another budget" in dict(board.notes)[cells[0].note]
    assert "Small counterpart" in markdown.render(board)


@pytest.mark.parametrize(("sign", "tau"), [(1, "+1.00"), (-1, "−1.00")])
def test_the_order_agrees_by_kendalls_tau(sign: int, tau: str) -> None:
    board = board_of({label: sign * value for label, value in IN_ORDER.items()})
    assert (
        f"Kendall’s tau of {tau}, 95 % interval {tau} to {tau} over 3 seeds" in board.notes[-1][1]
    )


def test_its_interval_is_over_seeds() -> None:
    board = board_of(dict.fromkeys(IN_ORDER, 2.0), spread=0.1)
    rng = np.random.default_rng(0)
    drawn = 2.0 + 0.1 * rng.normal(size=(6, SEEDS))
    taus = [stats.kendalltau(PUBLISHED, drawn[:, seed]).statistic for seed in range(SEEDS)]
    interval = stats.ttest_1samp(taus, 0.0).confidence_interval(0.95)
    low, high = max(-1.0, interval.low), min(1.0, interval.high)
    said = board.notes[-1][1].replace("−", "-")
    assert f"tau of {np.mean(taus):+.2f}, 95 % interval {low:+.2f} to {high:+.2f}" in said


def test_of_two_rows_there_is_no_order_and_of_none_no_column() -> None:
    few = board_of({1: 2.5, 6: 2.0})
    assert "Kendall" not in few.notes[-1][1]
    assert [bool(row.cells[-1].value) for row in few.rows] == [True, *[False] * 4, True]
    assert board_of({}).columns[-1].label == "BPD"
