from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from flowbench.errors import StoreError
from flowbench.store.attempt_files import AttemptContents, attempt_dirs, read_attempt
from flowbench.store.checks import latest_checks, write_check
from flowbench.store.connection import database_path
from flowbench.store.kept import CURVE_POINTS, has_kept, keep, kept_attempts, thinned
from flowbench.store.queries import attempt_contents, list_attempts
from flowbench.store.rebuild import rebuild
from flowbench.store.reconcile import readable
from flowbench.store.verify import verify
from tests.leaderboard import mirrored
from tests.store import attempts as make


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptContents:
    record = make.attempt(make.job("glow"))
    directory = make.write(
        tmp_path / "ran",
        record,
        curves=make.curve(2.0, points=1000),
        artifacts=make.grid(),
        values=make.log_prob(2.0),
    )
    return read_attempt(directory)


def refuse(problem: str) -> None:
    raise AssertionError(problem)


def test_what_is_kept_comes_back_as_it_was(attempt: AttemptContents, tmp_path: Path) -> None:
    bare = AttemptContents(record=make.failed(make.job("nice"), "oom"))
    keep(tmp_path, "some", [attempt, bare])
    found, failure = kept_attempts(tmp_path, refuse)
    assert found.record == attempt.record
    assert found.artifacts == attempt.artifacts
    assert np.array_equal(found.log_prob, attempt.log_prob)  # type: ignore[arg-type]
    assert found.curves == tuple(thinned(attempt.curves))
    assert (failure.record, failure.curves) == (bare.record, ())
    assert failure.artifacts == ()
    assert failure.log_prob is None


@pytest.mark.parametrize("num", [0, 1, 119, 120, 121, 1000])
def test_a_thinned_curve_can_be_drawn_and_ends_where_it_did(num: int) -> None:
    points = thinned(range(num))
    assert len(points) == (num if num <= CURVE_POINTS else len(points)) <= CURVE_POINTS
    assert list(points) == sorted(points)
    assert list(points[-1:]) == list(range(num))[-1:]
    assert list(thinned(points)) == list(points)


def test_kept_text_is_text_and_the_same_each_time(attempt: AttemptContents, tmp_path: Path) -> None:
    first = keep(tmp_path, "some", [attempt]).read_bytes()
    assert keep(tmp_path, "some", [attempt]).read_bytes() == first
    assert first.isascii()
    assert first.count(b"\n") == 1


def test_a_folder_that_only_keeps_text_can_be_read(
    attempt: AttemptContents, tmp_path: Path
) -> None:
    keep(tmp_path, "some", [attempt])
    with readable(tmp_path) as folder:
        assert folder != tmp_path
        assert [a["name"] for a in list_attempts(folder)] == [attempt.record.attempt_id]
    assert not folder.exists()
    assert not database_path(tmp_path).exists()


def test_other_readers_say_how_kept_attempts_become_a_database(
    attempt: AttemptContents, tmp_path: Path
) -> None:
    keep(tmp_path, "some", [attempt])
    with pytest.raises(StoreError, match="kept; run `flowbench store rebuild`"):
        list_attempts(tmp_path)


def test_a_folder_with_runs_and_a_database_is_read_as_it_is(
    attempt: AttemptContents, tmp_path: Path
) -> None:
    keep(tmp_path, "some", [attempt])
    shutil.copytree(tmp_path / "ran" / "runs", tmp_path / "runs")
    rebuild(tmp_path)
    with readable(tmp_path) as folder:
        assert folder == tmp_path


def test_a_database_that_was_left_there_hides_no_text(
    attempt: AttemptContents, tmp_path: Path
) -> None:
    keep(tmp_path, "some", [attempt])
    rebuild(tmp_path)
    other = AttemptContents(record=make.attempt(make.job("nice")))
    keep(tmp_path, "some", [attempt, other])
    write_check(tmp_path, mirrored.check("glow"))  # the database is newer than the text
    with readable(tmp_path) as folder:
        names = {a["name"] for a in list_attempts(folder)}
        assert [check.name for check in latest_checks(folder)] == ["glow"]
    assert names == {attempt.record.attempt_id, other.record.attempt_id}


def test_a_rebuild_takes_in_what_is_kept(attempt: AttemptContents, tmp_path: Path) -> None:
    keep(tmp_path, "some", [attempt])
    assert rebuild(tmp_path).attempts == 1
    verified = verify(tmp_path)
    assert (verified.attempts, verified.differences, verified.only_stored) == (1, (), ())


def test_verify_names_what_is_kept_and_not_stored(attempt: AttemptContents, tmp_path: Path) -> None:
    keep(tmp_path, "some", [attempt])
    rebuild(tmp_path)
    other = AttemptContents(record=make.attempt(make.job("nice")))
    keep(tmp_path, "some", [attempt, other])
    (difference,) = verify(tmp_path).differences
    assert difference.startswith(other.record.attempt_id)


def test_the_directory_of_an_attempt_goes_before_what_is_kept_of_it(
    attempt: AttemptContents, tmp_path: Path
) -> None:
    keep(tmp_path, "some", [attempt])
    shutil.copytree(tmp_path / "ran" / "runs", tmp_path / "runs")
    assert rebuild(tmp_path).attempts == len(list(attempt_dirs(tmp_path))) == 1
    (stored,) = attempt_contents(tmp_path, [attempt.record.attempt_id])
    assert len(stored.curves) == 1001
    assert verify(tmp_path).differences == ()


@pytest.mark.parametrize("line", ["{", '{"record": 1}', "[]"])
def test_a_damaged_line_is_reported_and_the_others_come_in(
    attempt: AttemptContents, tmp_path: Path, line: str
) -> None:
    path = keep(tmp_path, "some", [attempt])
    path.write_text(f"{line}\n{path.read_text('utf-8')}", encoding="utf-8")
    problems: list[str] = []
    (found,) = kept_attempts(tmp_path, problems.append)
    assert found.record == attempt.record
    assert len(problems) == 1
    assert "line 1" in problems[0]


def test_a_grid_that_an_earlier_version_kept_is_read(
    attempt: AttemptContents, tmp_path: Path
) -> None:
    path = keep(tmp_path, "some", [attempt])
    line = json.loads(path.read_text("utf-8"))
    line["samples_png"] = line.pop("artifacts")[0]["content"]
    path.write_text(json.dumps(line), encoding="utf-8")
    (found,) = kept_attempts(tmp_path, refuse)
    assert found.artifacts == attempt.artifacts == make.grid()


def test_damaged_samples_are_reported(attempt: AttemptContents, tmp_path: Path) -> None:
    path = keep(tmp_path, "some", [attempt])
    text = path.read_text("utf-8").replace('"content":"', '"content":"*')
    path.write_text(text, encoding="utf-8")
    problems: list[str] = []
    assert list(kept_attempts(tmp_path, problems.append)) == []
    assert len(problems) == 1


def test_nothing_kept(tmp_path: Path) -> None:
    assert not has_kept(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--out"):
        keep(tmp_path / "file", "some", [])
