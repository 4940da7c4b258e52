from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import record
from tests.benchmarks.ratios import Ratio, take_turns


def test_a_ratio_is_the_median_of_pairs() -> None:
    ratio = Ratio.of("a / b", [2.0, 9.0, 4.0], [1.0, 3.0, 1.0])
    assert (ratio.median, ratio.rounds) == (3.0, 3)
    assert 2.0 <= ratio.low <= 3.0 <= ratio.high <= 4.0


def test_runs_take_turns_after_their_warm_up() -> None:
    calls: list[str] = []
    ticks = iter(range(100))
    taken = take_turns(
        lambda: calls.append("a"),
        lambda: calls.append("b"),
        rounds=3,
        warm_up=1,
        clock=lambda: next(ticks),
    )
    assert "".join(calls) == "abababab"
    np.testing.assert_array_equal(taken, np.ones((2, 3)))


def test_a_history_grows_by_one_line_a_ratio(tmp_path: Path) -> None:
    history = tmp_path / "history.csv"
    ratios = [Ratio("a / b", 1.0, 0.9, 1.1, 3), Ratio("c / d", 2.0, 1.9, 2.1, 3)]
    record.append("some", ratios, "0123abcde", history)
    record.append("some", ratios[:1], "0123abcde", history)
    rows = list(csv.DictReader(history.read_text().splitlines()))
    assert [row["variant"] for row in rows] == ["a / b", "c / d", "a / b"]
    assert (rows[1]["median"], rows[1]["rounds"], rows[1]["commit"]) == ("2.0000", "3", "0123abcde")
    assert all(tuple(row) == record.COLUMNS for row in rows)


def test_benchmarks_are_recorded_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.benchmarks import bench_loop

    given: list[list[str]] = []

    def main(arguments: list[str]) -> list[Ratio]:
        given.append(arguments)
        return [Ratio("a / b", 1.0, 0.9, 1.1, 2)]

    monkeypatch.setattr(bench_loop, "main", main)
    history = tmp_path / "history.csv"
    record.main(["loop", "--history", str(history), "--", "--rounds", "2"])
    assert given == [["--rounds", "2"]]
    (row,) = csv.DictReader(history.read_text().splitlines())
    assert row["benchmark"] == "loop"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lop"], "unknown benchmark 'lop'; expected one of batches"),
        (["loop", "fid", "--", "--rounds", "2"], "name exactly one"),
    ],
)
def test_a_wrong_command_names_what_is_expected(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        record.main(arguments)
    assert message in capsys.readouterr().err
